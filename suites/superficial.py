"""The suite superficial: one test per case, judged on the thresholds of superficial.toml."""

import pytest


@pytest.mark.pitfalls("superficial")
def test_superficial(pitfall_case, pitfall_outcome):
    """Does the old object come back as soon as it is mentioned?"""
    pitfall_outcome.check()
