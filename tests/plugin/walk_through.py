"""Pages that show commands and what they print: read them, run them, and compare up to rounding."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

LEFT_OUT = "..."
NUMBER = re.compile(r"\d+\.\d+(?:e-?\d+)?|\d+e-?\d+")
"""Numbers that another machine may round otherwise; whole ones are counts and must be the same."""


@dataclass(frozen=True)
class Command:
    """A line behind ``$`` in a console block, and the lines that it is shown to print."""

    text: str
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """A diff block: what the reader changes by hand."""

    text: str


def steps(readme: str) -> Iterator[Command | Change]:
    """Read the walk-through off a README's ``console`` and ``diff`` blocks, in order."""
    for kind, body in re.findall(r"^```(console|diff)\n(.*?)^```$", readme, flags=re.M | re.S):
        if kind == "diff":
            yield Change(body)
            continue
        for text, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", body, flags=re.M):
            yield Command(text, tuple(output.splitlines()))


def is_like(shown: str, printed: str) -> bool:
    """Whether two lines are the same, up to seconds and rounding, or up to what the shown one leaves out."""
    if shown == printed:
        return True
    if LEFT_OUT in shown:
        start, _, end = shown.partition(LEFT_OUT)
        return printed.startswith(start) and printed.endswith(end) and len(printed) >= len(start + end)
    shown, printed = (re.sub(r"in \d+\.\d+s.*", "in SECONDS", line).strip("= ") for line in (shown, printed))
    # 0.44 here is 0.435 there: a column of numbers is as wide as its longest
    shown, printed = (re.sub(" +", " ", line) for line in (shown, printed))
    if NUMBER.split(shown) != NUMBER.split(printed):
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(float(a) == pytest.approx(float(b), rel=0.1, abs=0.02) for a, b in pairs)


def missing(shown: tuple[str, ...], printed: str) -> list[str]:
    """The first shown line that was not printed behind the ones before it; empty where all were."""
    rest = iter(printed.splitlines())
    for line in shown:
        if line.strip() != LEFT_OUT and not any(is_like(line, candidate) for candidate in rest):
            return [line]
    return []


def environment() -> dict[str, str]:
    """Ours, with this Python's programs first, a name for git, and nothing of a CI service."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GITHUB_", "PYTEST_", "GIT_")) and name not in {"CI", "BUILD_NUMBER"}
    }
    who = {f"GIT_{role}_{what}": "example@localhost" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    programs = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {
        **kept,
        **who,
        "PATH": programs,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_PAGER": "cat",
        "COLUMNS": "110",
        # installed for our own tests; a reader need not have it
        "PYTEST_ADDOPTS": "-p no:randomly",
    }


def run(command: str, folder: Path, text: str | None = None) -> tuple[int, str]:
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(),
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return result.returncode, result.stdout


def walk(page: Path, folder: Path) -> None:
    """Run a page's commands in a folder, in order; each has to print what is shown, and to end with status 0."""
    for step in steps(page.read_text(encoding="utf-8")):
        if isinstance(step, Change):
            status, printed = run("git apply -", folder, step.text)
            assert status == 0, printed
            continue
        status, printed = run(step.text, folder)
        # a status that matters is shown: "; echo $?"
        assert status == 0, f"$ {step.text}\n{printed}"
        assert missing(step.shown, printed) == [], f"$ {step.text}\n{printed}"
