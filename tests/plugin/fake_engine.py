"""An engine that answers at once: puts itself in the place of the real session module. For tests only.

`install` says how cases come out; every call is written to ``calls.jsonl`` in the working directory.
"""

from __future__ import annotations

import copy
import json
import os
import signal
import sys
import time
import types
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_editpitfalls.engine.settings import EngineSettings, Progress
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.matching import matches
from pytest_editpitfalls.pitfalls import Generated, Probe, Program
from pytest_editpitfalls.probes import AnyProbe
from pytest_editpitfalls.program import CaseScores, ProbeScore

GOOD = {
    ("old", "1"): 0.8,
    ("old", "12"): 0.1,
    ("new_exp", "12"): 0.6,
    ("new_imp", "12"): 0.5,
    ("object", "1"): 0.1,
    ("object", "12"): 0.6,
    ("new_object", "1"): 0.7,
    ("new_object", "12"): 0.1,
    ("old", "2"): 0.1,
    ("new_exp", "2"): 0.7,
}


class Version(str):
    """A string of a type of its own, as torch's version: it must not reach pytest-xdist."""


class EngineSession:
    """What the plugin needs of the real one."""

    lose: Collection[str] = ()
    lose_under: Mapping[int, Collection[str]] = {}  # seed -> cases that lose under it besides
    errors: Collection[str] = ()
    skips: Collection[str] = ()
    refuse: str | None = None
    unheld: Mapping[str, Mapping[str, bool | None]] = MappingProxyType({})
    unknown: Collection[str] = ()
    untaken: Collection[str] = ()
    says: Mapping[tuple[str, str], str] = MappingProxyType({})  # (fact, state) -> what is generated; else the answer
    measured: Mapping[tuple[str, str], float] = MappingProxyType({})  # the same for perplexities and divergences
    size = 4
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()  # announced at the start of every batch
    interrupt_after: int | None = None
    halved_after: int | None = None  # batches, whereupon memory runs out
    kills: Collection[str] = ()  # cases that take their process down
    kills_once: Collection[str] = ()
    hangs: Collection[str] = ()
    slow = 0.0  # seconds of a batch
    edit_slow = 0.0  # seconds of an edit for a lent model
    fingerprint = "f" * 8
    batches = 0

    def __init__(self, settings: EngineSettings, announce: Any = None) -> None:
        self.settings = settings
        self.announce = announce
        self.seconds = {"load": 0.25}
        self.model = FakeModel()
        self.tokenizer = "tokenizer"

    @classmethod
    def open(cls, settings: EngineSettings, announce: Any) -> EngineSession:
        write({"open": settings.model, "seed": settings.seed, "overrides": dict(settings.overrides)})
        if cls.refuse is not None:
            raise UsageError(cls.refuse, where="--pitfalls-model", fix="take another one")
        announce(f"{settings.model}: takes 0.1 GB")
        return cls(settings, announce)

    def under_seed(self, seed: int) -> EngineSession:
        other = copy.copy(self)
        other.settings = replace(self.settings, seed=seed)
        return other

    def batch_size(self, editor: str) -> int:
        if self.is_halved:
            return self.size // 2
        return self.settings.batch_size or self.size

    @property
    def is_halved(self) -> bool:
        return self.halved_after is not None and type(self).batches >= self.halved_after

    def run(
        self, editor: str, programs: Sequence[Program], progress: Any = None, suite: Any = None, identity: Any = None
    ) -> list[CaseScores]:
        write(
            {"run": editor, "model": self.settings.model, "seed": self.settings.seed}
            | {"ids": [program.case_id for program in programs]}
            | {"requests": {program.case_id: [len(step) for step in program.steps] for program in programs}}
        )
        if self.interrupt_after is not None and type(self).batches >= self.interrupt_after:
            raise KeyboardInterrupt
        for remark in self.remarks:
            self.announce(remark)
        for program in programs:
            marker = Path(f"killed-{program.case_id}")
            if program.case_id in self.kills or (program.case_id in self.kills_once and not marker.exists()):
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            while program.case_id in self.hangs:
                time.sleep(0.05)
        type(self).batches += 1
        self.seconds.setdefault(f"prepare {editor}", 0.5)
        for done in range(len(programs)):
            progress(Progress("edit", done, len(programs)))
            time.sleep(self.slow / len(programs))
        return [self._scores(program) for program in programs]

    def describe(self, editor: str) -> dict[str, Any]:
        return {
            "editor": {"hyperparameters": {"v_lr": 0.5}, "second_moment": {"source": "fake"}},
            "model": {
                "name": self.settings.model,
                "fingerprint": self.fingerprint,
                "device": "cpu",
                "dtype": "float32",
                "layers": 30,
            },
            "batch": {
                "cases": self.size // 2 if self.is_halved else self.size,
                "tokens": 768,
                "why": f"memory ran out with {self.size}" if self.is_halved else "as it was first",
            },
            "seed": self.settings.seed,
            "versions": {"torch": Version("none"), "transformers": "none"},
        }

    @contextmanager
    def edited(self, editor: str, program: Program, state: str, suite: Any = None) -> Iterator[Any]:
        self.model.state = state
        self.model.steps = [len(step) for step in program.steps]
        time.sleep(self.edit_slow)
        try:
            yield self.model
        finally:
            self.model.state = "0"

    def _scores(self, program: Program) -> CaseScores:
        case = program.case_id
        if case in self.errors:
            return CaseScores(case, error="the solve is singular")
        if case in self.skips:
            return CaseScores(case, skipped="the target has no tokens")
        return CaseScores(
            case,
            probes=tuple(self._probe(case, probe) for probe in program.probes),
            held_parts=self.unheld.get(case, {"edit1": True}),
            seconds=0.01,
            notes=self.notes,
            timings={"edit": 0.01, "score": 0.002},
        )

    def _probe(self, case: str, probe: AnyProbe) -> ProbeScore:
        value = GOOD.get((probe.fact, probe.state), 0.3)
        if case in {*self.lose, *self.lose_under.get(self.settings.seed, ())} and probe.fact in {
            "new_exp",
            "new_object",
        }:
            value = 0.01
        if case in self.untaken and (probe.fact, probe.state) in {("replaced", "1"), ("object", "1")}:
            value = 0.9
        if case in self.unknown and probe.fact == "new_exp":
            value = float("nan")
        if isinstance(probe, Generated):
            said = self.says.get((probe.fact, probe.state), probe.answers[0])
            right = float(matches(said, probe.answers, probe.match))
            texts = (said,) * len(probe.prompts)
            return ProbeScore(probe.fact, probe.state, (right,) * len(texts), measure=probe.measure, texts=texts)
        if not isinstance(probe, Probe):
            value = self.measured.get((probe.fact, probe.state), 20.0 if probe.measure == "perplexity" else 0.0)
            return ProbeScore(probe.fact, probe.state, (value,) * len(probe.inputs), measure=probe.measure)
        return ProbeScore(probe.fact, probe.state, tuple(value for _ in probe.prompts), 1)


class FakeModel:
    """Stands for a Hugging Face model; ``state`` tells how it would answer."""

    state = "0"
    steps: Sequence[int] = ()


def install(**settings: Any) -> None:
    """Put the fake in place of `pytest_editpitfalls.engine.session`."""
    module = types.ModuleType("pytest_editpitfalls.engine.session")
    session = type("EngineSession", (EngineSession,), {"batches": 0, **settings})
    module.EngineSession = session  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def write(call: dict[str, Any]) -> None:
    """Write one call down."""
    call["pid"] = os.getpid()
    call["time"] = time.time()
    with open("calls.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(call, default=str) + "\n")


def install_in_actor() -> None:
    """Where pytest does not run (Ray's actors): do what the project's conftest does, when the engine is opened."""
    module = types.ModuleType("pytest_editpitfalls.engine.session")

    class FromConftest:
        @staticmethod
        def open(settings: EngineSettings, announce: Any) -> Any:
            exec(compile(Path("conftest.py").read_text(encoding="utf-8"), "conftest.py", "exec"), {})
            return sys.modules[module.__name__].EngineSession.open(settings, announce)

    module.EngineSession = FromConftest  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
