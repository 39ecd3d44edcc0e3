"""The suite composite: one test per case, judged on the thresholds of composite.toml."""

import pytest


@pytest.mark.pitfalls("composite")
def test_composite(pitfall_case, pitfall_outcome):
    """An edit that contradicts another one through a rule over a third, tied fact."""
    pitfall_outcome.check()
