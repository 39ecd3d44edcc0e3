"""A pytest plugin that puts an engine in the place of the real one which answers at once: what is left is the plugin.

    pytest -p benchmarks.idle_engine --editor=rome ...

Nothing is loaded, edited or scored; all else happens as in any run: batches, store, records, verdicts, reports. Both
edits of a conflict case succeed, so that its test passes. With ``EDITPITFALLS_NO_STORE=1`` in the environment no case
is looked up or kept, either.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NoReturn
from zlib import crc32

import pytest

from pytest_editpitfalls.execution.executor import Answers, Job
from pytest_editpitfalls.execution.planning import PlannedCase
from pytest_editpitfalls.execution.result_cache import ResultCache
from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.program import CaseScores, ProbeScore
from pytest_editpitfalls.session import session

NO_STORE = "EDITPITFALLS_NO_STORE"
BATCH = 64
PROBABILITIES = {("old", "12"): 0.1, ("replaced", "1"): 0.1}
"""Of a fact in a state; every other is 0.5."""
LAYERS = 30
FACTORS = 10_007
"""Numbers that are drawn for all cases together, more than a case has."""


class IdleExecutor:
    """The protocol `pytest_editpitfalls.execution.executor.Executor`, without a model."""

    no_model: str | None = "the idle engine has no model"

    def is_open(self, model: str) -> bool:
        return True

    def describe(self, editor: str, model: str, seed: int | None = None) -> dict[str, Any]:
        facts = {
            "name": model,
            "fingerprint": "0" * 64,
            "layers": LAYERS,
            "dtype": "float32",
            "device": "cpu",
        }
        versions = {"torch": "0", "transformers": "0"}
        return {"editor": {"hyperparameters": {}}, "model": facts, "seed": seed or 0, "versions": versions}

    def batch_size(self, editor: str, model: str, cases: int) -> int:
        return BATCH

    def run(self, wanted: PlannedCase, jobs: Iterable[Job]) -> Iterator[Answers]:
        job = next(iter(jobs))
        yield {case: _scores(program) for case, program in zip(job.batch, job.programs, strict=True)}

    def run_again(self, job: Job) -> CaseScores:
        return _scores(job.programs[0])

    def session(self, model: str, seed: int | None = None) -> NoReturn:
        raise NotImplementedError(self.no_model)

    def take_seconds(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        """Nothing was opened."""


def _scores(program: Program) -> CaseScores:
    """Numbers of the case's own: what is kept of a run would take less memory if all of them were one."""
    factors, at = _factors(), crc32(program.case_id.encode()) % FACTORS
    probes = []
    for probe in program.probes:
        count, usual = len(probe.inputs), PROBABILITIES.get((probe.fact, probe.state), 0.5)
        probes.append(ProbeScore(probe.fact, probe.state, tuple([usual * each for each in factors[at : at + count]])))
        at = (at + count) % FACTORS
    return CaseScores(program.case_id, probes=tuple(probes), held_parts={"edit1": True})


@cache
def _factors() -> list[float]:
    """Drawn once: an engine that draws for each case would be measured, too."""
    drawn = random.Random(0)
    factors = [drawn.uniform(0.99, 1.01) for _ in range(FACTORS)]
    return factors * 2  # any place has as many behind it


class NothingStored(ResultCache):
    """A store that is opened, and neither read nor written."""

    def lookup(self, *_: Any) -> None:
        return None

    def store(self, *_: Any) -> None:
        return None


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Take the place of the engine that the run would make, before it is made."""
    vars(session)["_executor"] = lambda *_: IdleExecutor()
    if os.environ.get(NO_STORE) == "1":
        vars(session)["ResultCache"] = NothingStored
