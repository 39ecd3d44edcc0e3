"""Somebody's own judge of what a model said: it takes the place of comparing words."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_editpitfalls.cases.digests import digest_of
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.probes import Generated
from pytest_editpitfalls.program import CaseScores, ProbeScore, Program
from pytest_editpitfalls.registry import imported
from pytest_editpitfalls.results.run_records import JudgeRecord
from pytest_editpitfalls.suites.suite import Suite

OPTION = "--pitfalls-judge"


class _Unusable(Exception):
    """The judge raised, or gave no score; the message says what."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Scores generated texts from 0 (wrong) to 1 (right).

    Attributes:
        path: ``package.module:attribute``, as it was given.
        judge: called with (prompt, generated text, answers).
        version: of the source of its module, and of the one that it is defined in; "" where that cannot be read.
    """

    path: str
    judge: Callable[[str, str, tuple[str, ...]], Any]
    version: str

    @classmethod
    def at(cls, path: str) -> Judge:
        """Return the judge at ``package.module:attribute``.

        Raises:
            UsageError: there is none, or it is not one.
        """
        module, _, attribute = path.partition(":")
        if not module or not attribute:
            raise UsageError(
                f"'{path}' is not package.module:attribute", where=OPTION, fix="for instance my_judge:score"
            )
        judge = imported(path, where=OPTION)
        if not callable(judge):
            raise UsageError(
                f"{path} is no function: it is {_shown(judge, at_most=60)}",
                where=OPTION,
                fix="give a function of (prompt, text, answers) that returns a number from 0 to 1",
            )
        return cls(path, judge, _version(module, judge))

    @property
    def record(self) -> JudgeRecord:
        """What records say of it."""
        return JudgeRecord(name=self.path, source=self.version or None)

    def of_suite(self, suite: Suite) -> JudgeRecord | None:
        """Return `record`; None for a suite whose cases ask for no text."""
        is_said = any(says_something(compile_case(case)) for case in suite.cases)
        return self.record if is_said else None

    def key(self, key: str, program: Program, run_id: str) -> str:
        """Return a case's key in the store: another one for each judge, where there is something to judge.

        Scores of a judge whose source is not known are found by their own run alone.
        """
        if not says_something(program):
            return key
        return judged_key(key, self.path, self.version or None, run_id)

    def scores(self, program: Program, scores: CaseScores) -> CaseScores:
        """Return the scores of a case with the judge's in place of compared words; an error where it gives none."""
        try:
            probes = tuple(
                self._judged(probe, score) if isinstance(probe, Generated) else score
                for probe, score in zip(program.probes, scores.probes, strict=False)  # an error has no probes
            )
        except _Unusable as error:
            return CaseScores(scores.case_id, seconds=scores.seconds, notes=scores.notes, error=str(error))
        return replace(scores, probes=probes)

    def _judged(self, probe: Generated, score: ProbeScore) -> ProbeScore:
        ask = _remembering(self)
        values = (ask(prompt, text, probe.answers) for prompt, text in zip(probe.prompts, score.texts, strict=True))
        return replace(score, probabilities=tuple(values))

    def ask(self, prompt: str, text: str, answers: tuple[str, ...]) -> float:
        """Return the score of one text.

        Raises:
            _Unusable: the judge raised, or gave something that is no number from 0 to 1.
        """
        about = f"the judge {self.path}, asked about {visible(prompt, at_most=80)!r} and {visible(text, at_most=80)!r}"
        try:
            value = self.judge(prompt, text, answers)
        except Exception as error:
            raise _Unusable(f"{about}, raised {type(error).__name__}: {visible(error, at_most=200)}") from error
        try:
            number = float(value)
        except Exception:  # somebody's own type: a tensor of two numbers raises RuntimeError
            number = -1.0
        if isinstance(value, str) or not 0.0 <= number <= 1.0:
            raise _Unusable(f"{about}, gave {_shown(value, at_most=80)}; it has to give a number from 0 to 1")
        return number


def says_something(program: Program) -> bool:
    """Whether the model is asked for a text."""
    return any(isinstance(probe, Generated) for probe in program.probes)


def judged_key(key: str, judge: str, source: str | None, run_id: str | None) -> str:
    """Return the key in the store of a case that a judge has scored; see `Judge.key`."""
    return digest_of({"case": key, "judge": judge, "version": source or f"run {run_id}"})


@lru_cache(maxsize=8)
def _remembering(judge: Judge) -> Callable[[str, str, tuple[str, ...]], float]:
    """A judge that is asked the same only once: a judgement may cost money."""
    return lru_cache(maxsize=65536)(judge.ask)


def _version(module: str, judge: object) -> str:
    """Digest of the file of the module that was named, and of the one that what it wraps is defined in."""
    try:
        files = {getattr(sys.modules[module], "__file__", None) or ""}
        while isinstance(judge, functools.partial):
            judge = judge.func
        judge = inspect.unwrap(judge) if callable(judge) else judge
        with contextlib.suppress(TypeError):  # built in, or compiled
            files.add(inspect.getsourcefile(judge if inspect.isroutine(judge) else type(judge)) or "")
        digests = sorted(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file)
    except Exception:  # whatever somebody's object does when it is looked at
        return ""
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16] if digests else ""


def _shown(value: object, at_most: int) -> str:
    try:
        return visible(repr(value), at_most=at_most)
    except Exception:
        return f"a {type(value).__name__}"
