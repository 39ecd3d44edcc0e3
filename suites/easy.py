"""The suite easy: one test per case, judged on the thresholds of easy.toml."""

import pytest


@pytest.mark.pitfalls("easy")
def test_easy(pitfall_case, pitfall_outcome):
    """Editing a fact away and back again, where the other true objects are close to the edited one."""
    pitfall_outcome.check()
