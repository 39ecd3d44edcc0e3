"""Batches to Ray's actors: each free actor is given the next one, one whose actor died is isolated as with xdist."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from pytest_editpitfalls.errors import CaseError, PitfallsError, UsageError
from pytest_editpitfalls.execution.executor import Answers, Job, Watcher
from pytest_editpitfalls.execution.planning import Slot, fair_size
from pytest_editpitfalls.execution.xdist.isolation import GIVEN_UP, Isolation
from pytest_editpitfalls.options.config import RunConfig

from .cluster import Cluster

if TYPE_CHECKING:
    from .actor import Reply

INTERVAL = 0.5
"""Seconds between two looks at what the actors do."""

PATIENCE = 60.0
"""Seconds to wait for the first actor before it is said that there is none."""

FALSE_STARTS = 3
"""Times for each actor that one may die in a row before it has finished a batch."""

Pair = tuple[str, str]
"""Editor and label of the model."""


@dataclass
class _Actor:
    name: str
    handle: Any
    model: str | None = None  # that it holds
    job: Job | None = None  # that it runs


class RayEngine:
    """Batches in, scores out, in the actors of a Ray cluster; this process plans, stores and judges.

    Args:
        run: what the user asked for.
        watcher: who is told about progress.
    """

    elsewhere: str | None = "with --pitfalls-engine=ray the models are in Ray's actors, not in this process"

    def __init__(self, run: RunConfig, watcher: Watcher) -> None:
        self._run = run
        self._watcher = watcher
        self._cluster: Cluster | None = None
        self._busy: dict[Any, _Actor] = {}  # by the reference of what they will reply
        self._idle: list[_Actor] = []
        self._suites: dict[str, Any] = {}
        self._replies: dict[Pair, Reply] = {}
        self._isolation = Isolation[Slot]()
        self._left: Iterator[Job] | None = None
        self._next: deque[Job] = deque()
        self._taken: set[Slot] = set()
        self._failed: dict[Slot, Exception] = {}
        self._finished: deque[Answers] = deque()
        self._seconds: dict[str, float] = {}
        self._remarks: set[str] = set()
        self._false_starts = 0
        self._waits_since: float | None = None

    def is_open(self, model: str) -> bool:
        """Whether an actor has opened this model."""
        return any(label == model for _, label in self._replies)

    def describe(self, editor: str, model: str) -> dict[str, Any]:
        """Return an actor's description of an editor and a model; see `Engine.describe`."""
        return self._ask(editor, model).description

    def batch_size(self, editor: str, model: str, cases: int) -> int:
        """Cases that the model takes at once, fewer where actors would wait for the last batch."""
        size = self._ask(editor, model).size
        assert self._cluster is not None
        return fair_size(cases, self._cluster.layout.actors, size)

    def run(self, wanted: Slot, jobs: Iterable[Job]) -> Iterator[Answers]:
        """Give work to every actor that is free, until ``wanted`` is done; see `Engine.run`."""
        self._connect()
        if wanted not in self._taken:
            iterator = iter(jobs)
            self._next.extendleft(self._fresh(next(iterator)))
            self._left = iterator if self._left is None else self._left
        done = False
        while True:
            while self._finished:
                answers = self._finished.popleft()
                done = done or wanted in answers
                yield answers
            if wanted in self._failed:
                raise self._failed[wanted]
            self._give()  # also when it is done: actors go on while pytest reports
            if done:
                return
            self._wait()

    def session(self, model: str) -> NoReturn:
        """There is none here."""
        raise CaseError(str(self.elsewhere), fix="run without --pitfalls-engine=ray")

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
            self._cluster = Cluster.connect(self._run, with_board=self._watcher.is_shown)
            self._watcher.announce(str(self._cluster.layout))
            self._waits_since = time.monotonic()
            for _ in range(self._cluster.layout.actors):
                self._start()
        return self._cluster

    def _start(self) -> None:
        name, handle, ready = self._connect().start_actor()
        self._busy[ready] = _Actor(name, handle)

    def _ask(self, editor: str, model: str) -> Reply:
        """What an actor says of an editor and a model; the first time the next free one is asked."""
        self._connect()
        while (editor, model) not in self._replies:
            while not self._idle:
                self._wait()
            actor = self._free(model)
            reply = actor.handle.describe.remote(editor, model)
            self._busy[reply] = actor
            self._take_in(reply)
        return self._replies[editor, model]

    def _free(self, model: str) -> _Actor:
        """Take a free actor, one that holds the model where there is one."""
        actor = min(self._idle, key=lambda each: each.model != model)
        self._idle.remove(actor)
        actor.model = model
        return actor

    def _give(self) -> None:
        """Give every free actor a batch."""
        import ray

        while self._idle and (job := self._next_job()) is not None:
            actor = self._free(job.model)
            actor.job = job
            if (suite := self._suites.get(job.suite.name)) is None:
                suite = self._suites[job.suite.name] = ray.put(job.suite)
            reply = actor.handle.run.remote(job.editor, job.model, job.batch, job.programs, suite)
            self._busy[reply] = actor

    def _next_job(self) -> Job | None:
        while not self._next and self._left is not None:
            try:
                job = next(self._left, None)
            except PitfallsError:  # a model that cannot be opened: said when one of its cases is wanted
                job = None
            if job is None:
                self._left = None
            else:
                self._next.extend(self._fresh(job))
        return self._next.popleft() if self._next else None

    def _fresh(self, job: Job) -> list[Job]:
        """What of the batch nobody has been given."""
        batch = tuple(slot for slot in job.batch if slot not in self._taken)
        self._taken.update(batch)
        return [job.only(batch)] if batch else []

    def _wait(self) -> None:
        """Wait for an actor, for a moment."""
        import ray

        replies, _ = ray.wait([*self._busy], timeout=INTERVAL)
        for reply in replies:
            self._take_in(reply)
        if self._waits_since is not None and time.monotonic() - self._waits_since > PATIENCE:
            self._waits_since = None
            self._watcher.announce("Ray has found no room for an actor yet: other work may hold the cluster")
        self._watcher.workers(self._connect().told())

    def _take_in(self, reference: Any) -> None:
        """Take an actor's reply, also one that is an error or that never comes, since the actor is gone."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        actor = self._busy.pop(reference)
        job, actor.job = actor.job, None
        try:
            reply: Reply | None = ray.get(reference)
        except RayTaskError as error:
            self._idle.append(actor)
            readable = _readable(actor, error)
            if job is None:
                raise readable from None
            self._failed.update(dict.fromkeys(job.batch, readable))
        except RayError as error:
            self._bury(actor, job, str(error))
        else:
            self._idle.append(actor)
            self._waits_since = None
            if reply is not None:
                self._hear(actor, job, reply)

    def _hear(self, actor: _Actor, job: Job | None, reply: Reply) -> None:
        self._replies[reply.editor, reply.model] = reply
        for stage, seconds in reply.seconds.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
        for remark in reply.remarks:
            if remark not in self._remarks:  # every actor says the same of its model
                self._remarks.add(remark)
                self._watcher.announce(remark)
        if job is not None:
            self._false_starts = 0
            self._finished.append(reply.answers)

    def _bury(self, actor: _Actor, job: Job | None, why: str) -> None:
        """Start another actor in the place of a dead one; what it was at runs again, or is given up."""
        from pytest_editpitfalls.program import CaseScores

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
        self._start()
        if job is None:
            return
        again = self._isolation.after_death(job.batch)
        self._next.extendleft(job.only(part) for part in reversed(again))
        if again:
            self._watcher.announce(f"{actor.name} died in {job}, which runs again; another takes its place")
        else:
            self._finished.append({job.batch[0]: CaseScores(job.programs[0].case_id, error=GIVEN_UP)})


def _readable(actor: _Actor, error: Any) -> Exception:
    """The exception of an actor as it is shown: ours as it is, one of an actor that never got ready as what it is."""
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
