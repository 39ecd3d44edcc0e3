"""The suite reverse: one test per case, judged on the thresholds of reverse.toml."""

import pytest


@pytest.mark.pitfalls("reverse")
def test_reverse(pitfall_case, pitfall_outcome):
    """Two edits that contradict each other through inverse relations."""
    pitfall_outcome.check()
