"""The suite lifelong: one test per case, judged on the thresholds of lifelong.toml."""

import pytest


@pytest.mark.pitfalls("lifelong")
def test_lifelong(pitfall_case, pitfall_outcome):
    """What is left of the first edits after many, and what of everything else?"""
    pitfall_outcome.check()
