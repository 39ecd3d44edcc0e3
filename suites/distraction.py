"""The suite distraction: one test per case, judged on the thresholds of distraction.toml."""

import pytest


@pytest.mark.pitfalls("distraction")
def test_distraction(pitfall_case, pitfall_outcome):
    """Does the edit stand a true sentence about the old object before the prompt?"""
    pitfall_outcome.check()
