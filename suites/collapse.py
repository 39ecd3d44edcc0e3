"""The suite collapse: one test per case, judged on the thresholds of collapse.toml."""

import pytest


@pytest.mark.pitfalls("collapse")
def test_collapse(pitfall_case, pitfall_outcome):
    """Does a single edit break the model, so that it no longer predicts plain text?"""
    pitfall_outcome.check()
