"""Small helpers of the plugin's tests."""

from __future__ import annotations

STORED = "stored"
"""Argument of `Project.run`: take what is in the store."""


def case_ids(suite: str, limit: int) -> list[str]:
    """Return the ids of the cases that ``--pitfalls-limit`` keeps."""
    from pytest_editpitfalls.cases.selection import limit_cases
    from pytest_editpitfalls.cases.suite import load_suite

    return [case.id for case in limit_cases(load_suite(suite).cases, limit)]


def command(*words: str) -> int:
    """Run ``editpitfalls`` in this process and return its exit status."""
    from pytest_editpitfalls.cli.app import main

    try:
        main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0
