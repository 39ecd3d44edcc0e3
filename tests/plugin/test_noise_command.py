"""``editpitfalls noise`` runs pytest for real, in processes of its own, here with the fake engine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from plugin_helpers import command

if TYPE_CHECKING:
    from conftest import Project

ASKED = ("noise", "--editor=rome", "--suite=reverse", "--limit=3")


def test_every_variation_is_a_run_of_its_own(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(*ASKED, "--vary=seed=3", "--vary=batch-size=1", "--keep=kept", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["runs"] == ["as asked", "seed=3", "batch-size=1"]
    assert {row["n"] for row in found["floors"]} == {3}
    assert {row["margin"] for row in found["floors"]} == {"0"}  # the fake engine answers the same each time
    kept = [json.loads((project.path / "kept" / f"noise-{place}.json").read_text()) for place in (1, 2, 3)]
    assert [(run["run"]["seed"], run["run"]["batch_size"]) for run in kept] == [(0, None), (3, None), (0, 1)]
    assert not any(case["cached"] for run in kept for case in run["cases"])
    assert not (project.path / ".pitfalls").exists()
    assert "run 2 of 3: seed=3 ..." in captured.err


def test_a_run_that_cannot_be_made_is_told_with_its_last_lines(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("noise", "--editor=rme", "--suite=reverse", "--vary=seed=1") == 4
    told = capsys.readouterr().err
    assert "pytest ended with status 4" in told
    assert "did you mean 'rome'" in told
    assert "make the run work by itself first: pytest --pitfalls-editor=rme --pitfalls-suite=reverse" in told
