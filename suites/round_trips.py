"""The suite round_trips: one test per case, judged on the thresholds of round_trips.toml."""

import pytest


@pytest.mark.pitfalls("round_trips")
def test_round_trips(pitfall_case, pitfall_outcome):
    """When a fact is edited away and back again and again, for how many trips do the other true objects live?"""
    pitfall_outcome.check()
