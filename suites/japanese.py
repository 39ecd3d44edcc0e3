"""The suite japanese: one test per case, judged on the thresholds of japanese.toml. Only run where it is named."""

import pytest


@pytest.mark.pitfalls("japanese")
def test_japanese(pitfall_case, pitfall_outcome):
    """同じ事実を二度書き換える。"""
    pitfall_outcome.check()
