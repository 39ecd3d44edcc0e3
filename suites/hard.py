"""The suite hard: one test per case, judged on the thresholds of hard.toml."""

import pytest


@pytest.mark.pitfalls("hard")
def test_hard(pitfall_case, pitfall_outcome):
    """Editing a fact away and back again, where the other true objects are far from the edited one."""
    pitfall_outcome.check()
