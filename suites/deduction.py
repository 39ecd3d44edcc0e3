"""The suite deduction: one test per case, judged on the thresholds of deduction.toml."""

import pytest


@pytest.mark.pitfalls("deduction")
def test_deduction(pitfall_case, pitfall_outcome):
    """Is what an edit replaced still deducible from other facts, and do these facts survive the edit?"""
    pitfall_outcome.check()
