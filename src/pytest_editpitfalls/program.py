"""The program that a case compiles to: what the engine runs, without a word about kinds of pitfall.

A program says which edits are written together (`Program.steps`), which steps are applied in which order
(`Program.states`) and which probabilities are asked for in which state (`Program.probes`). The engine answers
with a `CaseScores`. These types are the whole interface between the pitfalls and the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One fact to be written: ``prompt`` with its subject filled in shall continue with ``target_new``.

    Attributes:
        prompt: the rewrite prompt; the first ``{}`` stands for the subject, byte for byte as published.
        subject: label of the subject.
        target_new: label of the object to be written, without a leading space.
        target_true: label of the object that the edit replaces, where there is one.
        relation: relation id ("P36").
    """

    prompt: str
    subject: str
    target_new: str
    target_true: str | None = None
    relation: str = ""

    @property
    def question(self) -> str:
        """The rewrite prompt with the subject in place (braces in the subject stay as they are)."""
        return self.prompt.replace("{}", self.subject, 1)


STATES: MappingProxyType[str, tuple[int, ...]] = MappingProxyType({"0": (), "1": (0,), "12": (0, 1), "2": (1,)})
"""The usual states: which steps are applied, in which order."""

STATE_WORDS: MappingProxyType[str, str] = MappingProxyType(
    {"0": "before", "1": "after edit 1", "12": "after both", "2": "edit 2 alone"}
)
"""Headings of the usual states, in the order of tables; another state's heading is its name."""


@dataclass(frozen=True, slots=True)
class State:
    """A named edited model: the base model after ``steps`` (indices into `Program.steps`), in that order."""

    name: str
    steps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """A fact asked in one state: the probability of ``target`` after each of ``prompts``.

    Attributes:
        fact: the fact's name in the results ("old", "replaced", "new_exp", "other:0", ...).
        state: name of a `State`.
        prompts: complete prompts (subject filled in), rewrite prompt first, then the paraphrases.
        target: label of the object; prompt and target are joined by one space.
        subject: label of the subject, for reports; "" where nobody said.
        relation: relation id, for reports; "" where nobody said.
    """

    fact: str
    state: str
    prompts: tuple[str, ...]
    target: str
    # words alone: they make no other probe of it, neither in a comparison nor in a digest
    subject: str = field(default="", compare=False)
    relation: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class HeldQuestion:
    """Does the base model hold a fact: is ``object`` the likeliest of ``candidates`` after ``prompt``?

    ``candidates`` excludes ``object`` and every other true object of the same subject and relation. ``name`` says
    which fact of the case it is ("edit1", "tied").
    """

    name: str
    prompt: str
    object: str
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """What the engine runs for one case.

    Attributes:
        case_id: id of the case.
        steps: the edits; those of one step are written together. Several requests of one step may share subject and
            relation and differ in ``target_new`` alone (Multi-Label Edit).
        states: the edited models that are asked.
        probes: what they are asked.
        held: what the base model is asked before any edit.
    """

    case_id: str
    steps: tuple[tuple[EditRequest, ...], ...]
    states: tuple[State, ...]
    probes: tuple[Probe, ...]
    held: tuple[HeldQuestion, ...] = ()


class SuitePrograms:
    """The programs of all cases of a suite, selected or not; compiled when they are asked for.

    Args:
        name: the suite.
        make: makes the programs, in the suite's order.
    """

    def __init__(self, name: str, make: Callable[[], Sequence[Program]]) -> None:
        self.name = name
        self._make = make
        self._programs: tuple[Program, ...] | None = None

    @property
    def programs(self) -> tuple[Program, ...]:
        if self._programs is None:
            self._programs = tuple(self._make())
        return self._programs


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """The answer to one `Probe`: ``exp(mean log-probability of the target's tokens)`` for each prompt.

    Attributes:
        tokens: how many tokens the target has; None where it is not known (an engine that does not say).
    """

    fact: str
    state: str
    probabilities: tuple[float, ...]
    tokens: int | None = None

    @property
    def log_probabilities(self) -> tuple[float, ...] | None:
        """Log-probability of the whole target after each prompt: summed over its tokens, in nats."""
        if self.tokens is None:
            return None
        return tuple(self.tokens * math.log(p) if p > 0.0 else -math.inf for p in self.probabilities)


NOTHING_CHANGED = "edit 1: changed nothing"
"""Note on a case whose first edit left the model as it was: nothing can be said of what it breaks."""


@dataclass(frozen=True, slots=True)
class CaseScores:
    """The engine's answer to one `Program`.

    Attributes:
        case_id: id of the case.
        probes: one score per probe, in the program's order; empty when there is an error or a skip.
        held_parts: for each fact of `Program.held` by its name, whether the base model holds it; None where the model's
            tokenizer cannot write it.
        seconds: the case's share of its batch's wall time.
        notes: remarks on the edit ("tiny divisor at edit 2: ...").
        error: why the case could not be computed (an editor's or the model's exception), else None.
        skipped: why the case cannot be scored on this model at all, else None.
    """

    case_id: str
    probes: tuple[ProbeScore, ...] = ()
    held_parts: Mapping[str, bool | None] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    error: str | None = None
    skipped: str | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def held(self) -> bool | None:
        """Whether the base model holds everything that the case takes for granted; None where that is not known."""
        return all_held(self.held_parts)

    @property
    def changed_nothing(self) -> bool:
        """Whether the first edit left the model as it was."""
        return NOTHING_CHANGED in self.notes


def all_held(held: Mapping[str, bool | None]) -> bool | None:
    """Return whether every fact is held; None where one is unknown and none is missing, or where none was asked."""
    answers = set(held.values())
    return False if False in answers else None if None in answers or not answers else True
