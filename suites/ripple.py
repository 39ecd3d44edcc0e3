"""The suite ripple: one test per case, judged on the thresholds of ripple.toml."""

import pytest


@pytest.mark.pitfalls("ripple")
def test_ripple(pitfall_case, pitfall_outcome):
    """Does what follows from an edit follow, and is the new object said only where it was asked for?"""
    pitfall_outcome.check()
