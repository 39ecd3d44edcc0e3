"""The suite coverage: one test per case, judged on the thresholds of coverage.toml."""

import pytest


@pytest.mark.pitfalls("coverage")
def test_coverage(pitfall_case, pitfall_outcome):
    """Two edits of one and the same fact."""
    pitfall_outcome.check()
