"""The suite chinese: one test per case, judged on the thresholds of chinese.toml. Only run where it is named."""

import pytest


@pytest.mark.pitfalls("chinese")
def test_chinese(pitfall_case, pitfall_outcome):
    """两次改写同一个事实。"""
    pitfall_outcome.check()
