"""The suite said: one test per case, judged on the thresholds of said.toml."""

import pytest


@pytest.mark.pitfalls("said")
def test_said(pitfall_case, pitfall_outcome):
    """Does the model say the new object when it writes freely, or only find it likelier when it is given?"""
    pitfall_outcome.check()
