"""A batch that did not fit in one of Ray's actors: the others learn of it with their next batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ray")

from pytest_editpitfalls.engine.walls import KnownWalls
from pytest_editpitfalls.execution.planning import BatchGroup, PlannedCase
from pytest_editpitfalls.execution.ray import actor as actors
from pytest_editpitfalls.execution.ray.actor import BatchActor, Reply
from pytest_editpitfalls.execution.ray.executor import RayExecutor
from pytest_editpitfalls.program import CaseScores, Program, SuitePrograms

KEY = "gpt2", "rome"


class FourFit:
    """In the place of a local executor: memory runs out with more than four cases."""

    def __init__(self, run: Any, listener: Any, sharing: int, walls: KnownWalls) -> None:
        self.walls, self.tried = walls, []

    def run_job(self, job: Any) -> Any:
        size = min(len(job.batch), self.walls.told(KEY) or 16)
        self.tried.append(size)
        if size > 4:
            self.walls.tell(KEY, 4)
        yield {case: CaseScores(program.case_id) for case, program in zip(job.batch, job.programs, strict=True)}

    def describe(self, *_: Any) -> dict[str, Any]:
        return {}

    def batch_size(self, *_: Any) -> int:
        return self.walls.told(KEY) or 16

    def take_seconds(self) -> dict[str, float]:
        return {}


def run_eight(actor: BatchActor, walls: Any) -> Reply:
    group = BatchGroup("s", "rome", "tiny")
    batch = tuple(PlannedCase(group, index) for index in range(8))
    programs = tuple(Program(f"P{index}", (), (), ()) for index in range(8))
    return actor.run("rome", "tiny", batch, programs, SuitePrograms("s", list), None, walls)


def test_it_travels_by_way_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "LocalExecutor", FourFit)
    run: Any = SimpleNamespace(model_of=lambda label: "gpt2")
    sink: Any = SimpleNamespace(report_progress=lambda *_: None)
    first, second = (BatchActor(name, run, sink) for name in ("ray1", "ray2"))
    caller: Any = RayExecutor(run, SimpleNamespace())
    caller._cluster = SimpleNamespace(layout=SimpleNamespace(actors=1))
    caller._accept(None, Reply("rome", "tiny", None, {}, 16))
    assert caller.batch_size("rome", "tiny", 1000) == 16
    caller._accept(None, run_eight(first, caller._walls.known))
    caller._accept(None, Reply("rome", "tiny", None, {}, 16))  # of one that knows nothing yet
    assert caller.batch_size("rome", "tiny", 1000) == 4
    run_eight(second, caller._walls.known)
    assert (first._executor.tried, second._executor.tried) == ([8], [4])  # type: ignore[attr-defined]


def test_running_a_case_again_loses_no_answer_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    group = BatchGroup("s", "rome", "tiny")
    mine, other = PlannedCase(group, 0), PlannedCase(group, 1)
    caller: Any = RayExecutor(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
    answers = [{other: CaseScores("P1")}, {mine: CaseScores("P0")}]
    monkeypatch.setattr(RayExecutor, "run", lambda self, wanted, jobs: iter(answers))
    assert caller.run_again(SimpleNamespace(batch=(mine,))).case_id == "P0"
    assert list(caller._finished) == [{other: CaseScores("P1")}]
