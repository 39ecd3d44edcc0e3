"""The example repository: its README's commands and changes are run, and do what it shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "gated-editor"
BASELINE = EXAMPLE / "pitfalls-baselines" / "main.json"
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


@pytest.fixture
def embedded_model() -> None:
    """The embedded model from the user's cache, or fetched into it."""
    from pytest_editpitfalls.engine.models.cache import cache_directory
    from pytest_editpitfalls.engine.models.embedded import embedded_gguf
    from pytest_editpitfalls.errors import UsageError

    try:
        embedded_gguf(cache_directory())
    except UsageError as error:
        pytest.skip(f"no embedded model: {error}")


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


@pytest.mark.skipif(not (shutil.which("git") and shutil.which("bash")), reason="the walk-through uses git and bash")
@pytest.mark.usefixtures("embedded_model")
def test_the_walk_through(tmp_path: Path) -> None:
    folder = tmp_path / EXAMPLE.name
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    shutil.copy(EXAMPLE / ".gitignore", folder)
    walk = list(steps((EXAMPLE / "README.md").read_text(encoding="utf-8")))
    assert sum(isinstance(step, Change) for step in walk) == 2
    for step in walk:
        if isinstance(step, Change):
            status, printed = run("git apply -", folder, step.text)
            assert status == 0, printed
            continue
        status, printed = run(step.text, folder)
        # a status that matters is shown: "; echo $?"
        assert status == 0, f"$ {step.text}\n{printed}"
        assert missing(step.shown, printed) == [], f"$ {step.text}\n{printed}"


def test_the_walk_through_shows_what_it_claims() -> None:
    """A README without its key lines would pass any comparison with them."""
    walk = list(steps((EXAMPLE / "README.md").read_text(encoding="utf-8")))
    shown = "\n".join("\n".join(step.shown) for step in walk if isinstance(step, Command))
    for line in (
        "gate coverage.cs_exp:2pp .*: FAILED",
        "gate coverage.cs_exp:2pp .*: passed",
        "worse now: coverage",
        "better now: easy",
        "pitfalls: baseline saved to",
        "exit status 1",
    ):
        assert re.search(line, shown), line


@pytest.mark.parametrize(
    ("shown", "printed", "expected"),
    [
        ("gate a: passed, p 0.012; 7 of 8", "gate a: passed, p 0.0121; 7 of 8", True),
        ("7 of 8 worse", "6 of 8 worse", False),
        ("1 failed in 3.21s", "1 failed in 61.20s (0:01:01)", True),
        ("cs_exp 0.9 -> 0.25", "cs_exp 0.9 -> 0.5", False),
        ("gate a: passed", "gate a: FAILED", False),
        ("gate a: passed, ...", "gate a: passed, p 1", True),
        ("gate a: passed, ...", "gate a: FAILED, p 0", False),
        ("saved to ...main.json", "saved to /a/main.json", True),
    ],
)
def test_lines_are_compared_up_to_rounding(shown: str, printed: str, expected: bool) -> None:
    assert is_like(shown, printed) is expected


def test_lines_are_found_in_their_order() -> None:
    assert missing(("a", LEFT_OUT, "c"), "a\nb\nc") == []
    assert missing(("c", "a"), "a\nb\nc") == ["a"]


def test_the_committed_baseline_is_of_this_version() -> None:
    """Renew it as the example's README says, where metric definitions or cases were changed on purpose."""
    from pytest_editpitfalls.comparison.baseline import Baseline
    from pytest_editpitfalls.comparison.pairing import check_protocol
    from pytest_editpitfalls.pitfalls import definitions_digest
    from pytest_editpitfalls.session.baseline_policy import digests_of
    from pytest_editpitfalls.suites import load_suite

    suites = [load_suite(EXAMPLE / "suites" / f"{name}.toml") for name in ("coverage", "easy")]
    check_protocol(
        Baseline.read(BASELINE),
        metric_definitions=definitions_digest(suite.kind for suite in suites),
        digests=digests_of(suites),
        fingerprints={},
    )
