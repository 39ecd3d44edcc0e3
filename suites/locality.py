"""The suite locality: one test per case, judged on the thresholds of locality.toml."""

import pytest


@pytest.mark.pitfalls("locality")
def test_locality(pitfall_case, pitfall_outcome):
    """Do other subjects keep the object that the edit replaces, or do they get the edit's as well?"""
    pitfall_outcome.check()
