"""The suite inverse: one test per case, judged on the thresholds of inverse.toml."""

import pytest


@pytest.mark.pitfalls("inverse")
def test_inverse(pitfall_case, pitfall_outcome):
    """Is the edit known the other way round, and denied where its prompt is denied?"""
    pitfall_outcome.check()
