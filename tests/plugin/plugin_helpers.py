"""Small helpers of the plugin's tests."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

STORED = "stored"
"""Argument of `Project.run`: take what is in the store."""


WITH_EACH_SUITE = ("relations.toml", "objects.json")
"""What the headers of the suites that ship name beside their cases."""


def case_ids(suite: str, limit: int) -> list[str]:
    """Return the ids of the cases that ``--pitfalls-limit`` keeps."""
    from pytest_editpitfalls.suites import load_suite
    from pytest_editpitfalls.suites.limit import limit_cases

    return [case.id for case in limit_cases(load_suite(suite).cases, limit)]


def count_of(suite: str) -> int:
    """Return how many cases a suite that ships has."""
    from pytest_editpitfalls.suites import load_suite

    return len(load_suite(suite).cases)


def write_small(folder: Path, suite: str, count: int) -> str:
    """Write a suite that has the cases that ``--pitfalls-limit=count`` keeps, and no others; return its option."""
    from pytest_editpitfalls.shipped import suites_directory

    source, target = suites_directory(), folder / "suites"
    target.mkdir(exist_ok=True)
    for name in WITH_EACH_SUITE:
        shutil.copy(source / name, target / name)
    header = (source / f"{suite}.toml").read_text(encoding="utf-8")
    (target / f"{suite}.toml").write_text(header, encoding="utf-8")
    kept = set(case_ids(suite, count))
    rows = (source / f"{suite}.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [row for row in rows if json.loads(row)["id"] in kept]
    (target / f"{suite}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"--pitfalls-suite=suites/{suite}.toml"


def command(*words: str) -> int:
    """Run ``editpitfalls`` in this process and return its exit status."""
    from pytest_editpitfalls.cli.app import main

    try:
        main(list(words))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def on_a_terminal(folder: Path, *options: str, columns: int, term: str = "xterm") -> str:
    """Run pytest with the fake editor on a pseudo-terminal and return everything that it showed; it has to pass.

    In a fork of this process: what is imported here need not be imported again.
    """
    import pty

    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # on forks beside threads
        process, leader = pty.fork()
    if not process:
        _run_in_fork(folder, options, {"TERM": term, "COLUMNS": str(columns)})
    chunks = []
    while True:
        try:
            chunk = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(leader)
    _, status = os.waitpid(process, 0)
    shown = b"".join(chunks).decode()
    assert os.waitstatus_to_exitcode(status) == 0, shown
    return shown


def _run_in_fork(folder: Path, options: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    status = 70
    try:
        os.chdir(folder)
        os.environ.update(variables)
        for name, file, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
            stream = open(file, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        status = int(pytest.main(["-p", "no:cacheprovider", "-p", "no:randomly", "--editor=rome", *options]))
        sys.stdout.flush()
    finally:
        os._exit(status)
