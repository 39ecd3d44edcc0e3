"""The suite same_subject: one test per case, judged on the thresholds of same_subject.toml."""

import pytest


@pytest.mark.pitfalls("same_subject")
def test_same_subject(pitfall_case, pitfall_outcome):
    """Does the model still know what else is true of the edited subject?"""
    pitfall_outcome.check()
