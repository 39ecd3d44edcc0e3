"""Small helpers of the plugin's tests."""

from __future__ import annotations


def case_ids(suite: str, limit: int) -> list[str]:
    """Return the ids of the cases that ``--pitfalls-limit`` keeps."""
    from pytest_editpitfalls.cases.selection import limit_cases
    from pytest_editpitfalls.cases.suite import load_suite

    return [case.id for case in limit_cases(load_suite(suite).cases, limit)]
