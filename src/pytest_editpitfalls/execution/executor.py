"""The protocol of whoever runs batches (jobs in, scores out), and of whoever shows how far they are."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from pytest_editpitfalls.engine.settings import Expected, Progress
from pytest_editpitfalls.program import CaseScores, Program, SuitePrograms

from .planning import Batch, PlannedCase

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.session import EngineSession

Answers = Mapping[PlannedCase, CaseScores]
"""Finished cases and their scores."""


INTERVAL = 0.5
"""Seconds between two reports of a worker."""


@dataclass(frozen=True)
class Job:
    """One batch, as an executor is given it.

    Attributes:
        editor: what the engine calls the editor (without ``+mle`` and the like).
        programs: one for each case of the batch.
        suites: for each program, all cases of its suite, not only those of the batch.
        seed: what the editor draws under; None: the run's own.
    """

    editor: str
    model: str
    batch: Batch
    programs: tuple[Program, ...]
    suites: tuple[SuitePrograms, ...]
    seed: int | None = None

    def __str__(self) -> str:
        first, last = self.programs[0].case_id, self.programs[-1].case_id
        return first if len(self.programs) == 1 else f"the batch of {first} to {last}"

    def only(self, batch: Batch) -> Job:
        """Return the same job for some of its cases."""
        places = [self.batch.index(case) for case in batch]
        programs, suites = tuple(map(self.programs.__getitem__, places)), tuple(map(self.suites.__getitem__, places))
        return replace(self, batch=batch, programs=programs, suites=suites)


class ProgressListener(Protocol):
    """Learns how far the run is: remarks of the engine, and the progress of its batches."""

    @property
    def is_shown(self) -> bool:
        """Whether anybody can see a line of progress."""

    def announce(self, text: str) -> None:
        """Show a remark of the engine ("model needs 0.6 GB")."""

    def busy(self, text: str) -> AbstractContextManager[None]:
        """Show what goes on outside of batches ("loading smollm2-135m")."""

    def start(self, batch: Sized, done: int, total: int, expected: Expected | None = None) -> None:
        """A batch begins; ``done`` of ``total`` selected cases are finished; ``expected``: for the first one."""

    def reached(self, done: int) -> None:
        """So many of the selected cases are finished."""

    def progress(self, progress: Progress) -> None:
        """The batch has come further."""

    def workers(self, latest: Mapping[str, Mapping[str, Any]]) -> None:
        """What each process of an executor with several does: "stage", "done", "total" and "cases" of its batch.

        Also "expected": the seconds of a case by earlier runs, until the first batch has ended; else None.
        """

    def stop(self) -> None:
        """The batch has ended."""


class ProgressSink(Protocol):
    """Where workers report how far they are."""

    def report_progress(self, worker: str, progress: dict[str, Any] | None) -> None:
        """Report how far a worker's batch is; None: it runs none."""


class WorkerProgress:
    """The `ProgressListener` of a process that has no terminal: it reports to the one that has."""

    is_shown = True

    def __init__(self, sink: ProgressSink, worker: str) -> None:
        self._sink = sink
        self._worker = worker
        self._cases = 0
        self._expected: Expected | None = None
        self._reported = 0.0

    def announce(self, text: str) -> None:
        """Ignored: what an engine remarks at its start is the same in each worker."""

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Report it: the text stands for a stage without units."""
        self._report(Progress(text, 0, 0))
        yield

    def start(self, batch: Sized, done: int, total: int, expected: Expected | None = None) -> None:
        """A batch begins."""
        self._cases, self._expected, self._reported = len(batch), expected, 0.0

    def progress(self, progress: Progress) -> None:
        """Report it, at most twice a second."""
        now = time.monotonic()
        if now - self._reported >= INTERVAL:
            self._reported = now
            self._report(progress)

    def _report(self, progress: Progress) -> None:
        expected = self._expected
        facts = {
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
            "cases": self._cases,
            "expected": None if expected is None else expected.seconds / expected.cases,
        }
        self._sink.report_progress(self._worker, facts)

    def reached(self, done: int) -> None:
        """Ignored: the other process counts."""

    def workers(self, latest: Mapping[str, Mapping[str, Any]]) -> None:
        """Ignored: a worker has no workers of its own."""

    def stop(self) -> None:
        """The batch has ended."""
        self._sink.report_progress(self._worker, None)


class Executor(Protocol):
    """Runs batches, in this process or in others."""

    no_model: str | None
    """Why there is no model in this process; None where there is one."""

    def is_open(self, model: str) -> bool:
        """Whether `describe` answers for this model (a label) without loading anything."""

    def describe(self, editor: str, model: str, seed: int | None = None) -> dict[str, Any]:
        """Return the description of an editor and a model under a seed (None: the run's), of plain JSON types.

        Raises:
            UsageError: the model or the editor cannot be used at all.
        """

    def batch_size(self, editor: str, model: str, cases: int) -> int:
        """Return how many cases are worth a batch, for this editor and model, in a run of so many ``cases``."""

    def run(self, wanted: PlannedCase, jobs: Iterable[Job]) -> Iterator[Answers]:
        """Yield scores as they come, until those of ``wanted`` are among them.

        Args:
            jobs: the batches that are left, made when they are taken, the one with ``wanted`` first. The executor
                takes as many as it has use for, and each case once.

        Raises:
            UsageError: the model or the editor cannot be used at all.
        """

    def run_again(self, job: Job) -> CaseScores:
        """Run one case that has been run before once more, by itself; nothing else of the run is under way."""

    def session(self, model: str, seed: int | None = None) -> EngineSession:
        """Return the open model itself, for fixtures; there is none where `no_model` says why.

        Args:
            seed: what its editors draw under; None: the run's own.
        """

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds spent outside of batches since the last call ("imports", "load", "prepare rome")."""

    def close(self) -> None:
        """The run is over."""
