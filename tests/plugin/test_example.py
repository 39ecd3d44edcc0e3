"""The example repository: its README's commands and changes are run, and do what it shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from walk_through import LEFT_OUT, Change, Command, is_like, missing, steps, walk

EXAMPLE = Path(__file__).parents[2] / "examples" / "gated-editor"
BASELINE = EXAMPLE / "pitfalls-baselines" / "main.json"


@pytest.mark.skipif(not (shutil.which("git") and shutil.which("bash")), reason="the walk-through uses git and bash")
@pytest.mark.usefixtures("embedded_model")
def test_the_walk_through(tmp_path: Path) -> None:
    folder = tmp_path / EXAMPLE.name
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    shutil.copy(EXAMPLE / ".gitignore", folder)
    page = EXAMPLE / "README.md"
    assert sum(isinstance(step, Change) for step in steps(page.read_text(encoding="utf-8"))) == 2
    walk(page, folder)


def test_the_walk_through_shows_what_it_claims() -> None:
    """A README without its key lines would pass any comparison with them."""
    found = steps((EXAMPLE / "README.md").read_text(encoding="utf-8"))
    shown = "\n".join("\n".join(step.shown) for step in found if isinstance(step, Command))
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
