"""The suite append: one test per case, judged on the thresholds of append.toml."""

import pytest


@pytest.mark.pitfalls("append")
def test_append(pitfall_case, pitfall_outcome):
    """When one more object is added to several true ones, does it join them, and do they stay?"""
    pitfall_outcome.check()
