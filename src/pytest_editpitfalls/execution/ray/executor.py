"""Runs batches in Ray's actors: a free actor gets the next one; a batch whose actor died is isolated as with xdist."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from pytest_editpitfalls.engine.walls import KnownWalls
from pytest_editpitfalls.errors import CaseError, PitfallsError, UsageError
from pytest_editpitfalls.execution.executor import Answers, Job, ProgressListener
from pytest_editpitfalls.execution.planning import GIVEN_UP, Isolation, PlannedCase, fair_size
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.program import CaseScores

from .actor import Reply
from .cluster import Cluster

INTERVAL = 0.5
"""Seconds between two looks at what the actors do."""

PATIENCE = 60.0
"""Seconds to wait for the first actor before it is said that there is none."""

FALSE_STARTS = 3
"""Times for each actor that one may die in a row before it has finished a batch."""

Setup = tuple[str, str, int | None]
"""Editor, label of the model, and seed; None: that of the run."""


@dataclass
class _Actor:
    name: str
    handle: Any
    model: str | None = None  # that it holds
    job: Job | None = None  # that it runs


class RayExecutor:
    """Runs batches in the actors of a Ray cluster; this process plans, stores and judges."""

    no_model: str | None = "with --pitfalls-engine=ray the models are in Ray's actors, not in this process"

    def __init__(self, run: RunConfig, listener: ProgressListener) -> None:
        self._run = run
        self._listener = listener
        self._cluster: Cluster | None = None
        self._busy: dict[Any, _Actor] = {}  # by the reference of what they will reply
        self._idle: list[_Actor] = []
        self._suites: dict[str, Any] = {}
        self._replies: dict[Setup, Reply] = {}
        self._isolation = Isolation[PlannedCase]()
        self._jobs: Iterator[Job] | None = None
        self._queue: deque[Job] = deque()
        self._taken: set[PlannedCase] = set()
        self._failed: dict[PlannedCase, Exception] = {}
        self._finished: deque[Answers] = deque()
        self._seconds: dict[str, float] = {}
        self._remarks: set[str] = set()
        self._walls = KnownWalls()
        self._false_starts = 0
        self._waits_since: float | None = None

    def is_open(self, model: str) -> bool:
        """Whether an actor has opened this model."""
        return any(label == model for _, label, _ in self._replies)

    def describe(self, editor: str, model: str, seed: int | None = None) -> dict[str, Any]:
        """Return an actor's description of an editor and a model; see `Executor.describe`."""
        return self._reply_about(editor, model, seed).description

    def batch_size(self, editor: str, model: str, cases: int) -> int:
        """Return how many cases the model takes at once, fewer where actors would wait for the last batch."""
        known = (reply for (name, label, _), reply in self._replies.items() if (name, label) == (editor, model))
        size = (next(known, None) or self._reply_about(editor, model, None)).size
        size = min(size, self._walls.told((self._run.model_of(model), editor)) or size)
        assert self._cluster is not None
        return fair_size(cases, self._cluster.layout.actors, size)

    def run(self, wanted: PlannedCase, jobs: Iterable[Job]) -> Iterator[Answers]:
        """Give work to every actor that is free, until ``wanted`` is done; see `Executor.run`."""
        self._connect()
        if wanted not in self._taken:
            iterator = iter(jobs)
            self._queue.extendleft(self._claim(next(iterator)))
            self._jobs = iterator if self._jobs is None else self._jobs
        done = False
        while True:
            while self._finished:
                answers = self._finished.popleft()
                done = done or wanted in answers
                yield answers
            if wanted in self._failed:
                raise self._failed[wanted]
            self._assign_jobs()  # also when it is done: actors go on while pytest reports
            if done:
                return
            self._wait()

    def run_again(self, job: Job) -> CaseScores:
        """Run one case once more, in the next free actor; what others have finished meanwhile waits for its test."""
        (wanted,) = job.batch
        self._taken.discard(wanted)
        mine: list[CaseScores] = []
        others: list[Answers] = []
        try:
            for answers in self.run(wanted, [job]):
                mine += [scores for case, scores in answers.items() if case == wanted]
                others += [rest] if (rest := {case: answers[case] for case in answers if case != wanted}) else []
        finally:
            self._finished.extend(others)
        return mine[-1]

    def session(self, model: str, seed: int | None = None) -> NoReturn:
        """Raise `CaseError`: there is no model in this process."""
        raise CaseError(str(self.no_model), fix="run without --pitfalls-engine=ray")

    def take_seconds(self) -> dict[str, float]:
        """Return the seconds that actors spent outside of batches since the last call, summed."""
        taken, self._seconds = self._seconds, {}
        return taken

    def close(self) -> None:
        """End the actors, and Ray if it was started for this run."""
        if self._cluster is not None:
            for actor in [*self._busy.values(), *self._idle]:
                _kill(actor)
            self._cluster.close()
            self._cluster = None

    def _connect(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster.connect(self._run, with_progress=self._listener.is_shown)
            self._listener.announce(str(self._cluster.layout))
            self._waits_since = time.monotonic()
            for _ in range(self._cluster.layout.actors):
                self._start_actor()
        return self._cluster

    def _start_actor(self) -> None:
        name, handle, ready = self._connect().start_actor()
        self._busy[ready] = _Actor(name, handle)

    def _reply_about(self, editor: str, model: str, seed: int | None) -> Reply:
        """Return an actor's reply about an editor and a model; the first time the next free actor is asked."""
        self._connect()
        while (editor, model, seed) not in self._replies:
            while not self._idle:
                self._wait()
            actor = self._take_idle_actor(model)
            reply = actor.handle.describe.remote(editor, model, seed)
            self._busy[reply] = actor
            self._receive(reply)
        return self._replies[editor, model, seed]

    def _take_idle_actor(self, model: str) -> _Actor:
        """Take a free actor, one that holds the model where there is one."""
        actor = min(self._idle, key=lambda each: each.model != model)
        self._idle.remove(actor)
        actor.model = model
        return actor

    def _assign_jobs(self) -> None:
        """Give every free actor a batch."""
        import ray

        while self._idle and (job := self._next_job()) is not None:
            actor = self._take_idle_actor(job.model)
            actor.job = job
            of_job = job.suites[0]  # that of all its cases: see `CaseRunner`
            if (suite := self._suites.get(of_job.name)) is None:
                suite = self._suites[of_job.name] = ray.put(of_job)
            reply = actor.handle.run.remote(
                job.editor, job.model, job.batch, job.programs, suite, job.seed, self._walls.known
            )
            self._busy[reply] = actor

    def _next_job(self) -> Job | None:
        while not self._queue and self._jobs is not None:
            try:
                job = next(self._jobs, None)
            except PitfallsError:  # a model that cannot be opened: raised again when one of its cases is wanted
                job = None
            if job is None:
                self._jobs = None
            else:
                self._queue.extend(self._claim(job))
        return self._queue.popleft() if self._queue else None

    def _claim(self, job: Job) -> list[Job]:
        """Claim the cases of a batch that no actor has been given yet; an empty list where there are none."""
        batch = tuple(case for case in job.batch if case not in self._taken)
        self._taken.update(batch)
        return [job.only(batch)] if batch else []

    def _wait(self) -> None:
        """Wait for an actor, for a moment."""
        import ray

        replies, _ = ray.wait([*self._busy], timeout=INTERVAL)
        for reply in replies:
            self._receive(reply)
        if self._waits_since is not None and time.monotonic() - self._waits_since > PATIENCE:
            self._waits_since = None
            self._listener.announce("Ray has found no room for an actor yet: other work may hold the cluster")
        self._listener.workers(self._connect().progress())

    def _receive(self, reference: Any) -> None:
        """Take an actor's reply, which may be an error, or that the actor is gone."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        actor = self._busy.pop(reference)
        job, actor.job = actor.job, None
        try:
            reply: Reply | None = ray.get(reference)
        except RayTaskError as error:
            self._idle.append(actor)
            readable = _as_shown(actor, error)
            if job is None:
                raise readable from None
            self._failed.update(dict.fromkeys(job.batch, readable))
        except RayError as error:
            self._replace_dead(actor, job, str(error))
        else:
            self._idle.append(actor)
            self._waits_since = None
            if reply is not None:
                self._accept(job, reply)

    def _accept(self, job: Job | None, reply: Reply) -> None:
        self._replies[reply.editor, reply.model, reply.seed] = reply
        for key, cases in reply.walls.items():
            self._walls.tell(key, cases)
        for stage, seconds in reply.seconds.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        for remark in reply.remarks:
            if remark not in self._remarks:  # every actor says the same of its model
                self._remarks.add(remark)
                self._listener.announce(remark)
        if job is not None:
            self._false_starts = 0
            self._finished.append(reply.answers)

    def _replace_dead(self, actor: _Actor, job: Job | None, why: str) -> None:
        """Start another actor in the place of a dead one; the batch that it ran runs again, or is given up."""
        cluster = self._connect()
        _kill(actor)
        cluster.forget(actor.name)
        if job is None:
            self._false_starts += 1
            if self._false_starts >= FALSE_STARTS * cluster.layout.actors:
                raise UsageError(
                    f"Ray's actors die before their first batch: {why}",
                    where="--pitfalls-engine=ray",
                    fix="look into Ray's logs; use fewer actors (--pitfalls-engine=ray:1) where memory is short",
                )
        self._start_actor()
        if job is None:
            return
        again = self._isolation.after_death(job.batch)
        self._queue.extendleft(job.only(part) for part in reversed(again))
        if again:
            self._listener.announce(f"{actor.name} died in {job}, which runs again; another takes its place")
        else:
            self._finished.append({job.batch[0]: CaseScores(job.programs[0].case_id, error=GIVEN_UP)})


def _as_shown(actor: _Actor, error: Any) -> Exception:
    """Return what to raise for an actor's exception: one of ours unchanged, and why an actor never got ready."""
    if isinstance(error.cause, PitfallsError):
        return error.cause
    if actor.model is None:
        return UsageError(
            f"Ray's actors cannot import what this run brings ({type(error.cause).__name__}: {error.cause})",
            where="--pitfalls-engine=ray",
            fix="install it on every machine of the cluster, or keep it in a directory that all of them see",
        )
    shown: Exception = error  # with the actor's traceback
    return shown


def _kill(actor: _Actor) -> None:
    import ray

    with contextlib.suppress(Exception):  # it may be gone, and its machine with it
        ray.kill(actor.handle)
