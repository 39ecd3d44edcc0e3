"""The program that a case compiles to: what the engine runs, without a word about kinds of pitfall.

A program says which edits are written together (`Program.steps`), which steps are applied in which order
(`Program.states`) and what is asked in which state (`Program.probes`): how likely an object is, what the model says,
how well it predicts a text, how far its next token is from the base model's (`probes`). The engine answers with a
`CaseScores`. These types are the whole interface between the pitfalls and the engine.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from .probes import AnyProbe, Measure, unless
from .probes import Probe as Probe  # the usual form

Score = Literal["mean", "sum"]
"""How likely an object is: the mean log-probability of its tokens, or their sum (the log-probability of all of it)."""

MAX_LISTED = 32
"""A longer list of candidates stands in a digest by its own digest."""


def long_list() -> dict[str, Any]:
    """Metadata of a field whose list many cases share: a long one is digested once, not with each of them."""
    return {"digest": lambda name, value: {name: value if len(value) <= MAX_LISTED else list_digest(value)}}


@lru_cache(maxsize=1024)
def list_digest(labels: tuple[str, ...]) -> str:
    """SHA-256 of a list of labels; remembered by the list."""
    return hashlib.sha256(json.dumps(labels, ensure_ascii=True).encode("ascii")).hexdigest()


def _first_apart(name: str, prompts: tuple[str, ...]) -> dict[str, Any]:
    """The prompts of a held question in a digest: the rewrite prompt by itself, and paraphrases where it has some."""
    return {"prompt": prompts[0], **({"paraphrases": prompts[1:]} if prompts[1:] else {})}


@dataclass(frozen=True, slots=True)
class EditRequest:
    """One fact to be written: ``prompt`` with its subject filled in shall continue with ``target_new``.

    Attributes:
        prompt: the rewrite prompt; the first ``{}`` stands for the subject, byte for byte as published.
        subject: label of the subject.
        target_new: label of the object to be written, without a leading space.
        target_true: label of the object that the edit replaces, where there is one.
        relation: relation id ("P36").
        joiner: what stands between the prompt and an object: one space, or nothing (Chinese, Japanese).
    """

    prompt: str
    subject: str
    target_new: str
    target_true: str | None = None
    relation: str = ""
    joiner: str = field(default=" ", metadata=unless(" "))

    @property
    def question(self) -> str:
        """The rewrite prompt with the subject in place (braces in the subject stay as they are)."""
        return self.prompt.replace("{}", self.subject, 1)

    @property
    def sentence(self) -> str:
        """The new fact as a sentence: what is asked, and the new object."""
        return f"{self.question}{self.joiner}{self.target_new}"


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
class HeldQuestion:
    """Does the base model hold a fact: is ``object`` likelier than every rival?

    It is where ``object`` wins by all of ``scores`` after the first prompt, and after at least ``share`` of the others.

    Attributes:
        name: which fact of the case it is ("edit1", "tied").
        prompts: complete prompts: the rewrite prompt, then paraphrases where ``share`` is above 0.
        object: label of the object.
        candidates: labels that compete. Cases may share one tuple: it may name the object, and other true ones.
        scores: by which scores the object has to win.
        share: of the paraphrases, on which it has to win; 0: they are not asked.
        joiner: what stands between a prompt and an object.
        not_rivals: further candidates that are no rivals, as they are true of the subject as well.
    """

    name: str
    prompts: tuple[str, ...] = field(metadata={"digest": _first_apart})
    object: str
    candidates: tuple[str, ...] = field(metadata=long_list())
    scores: tuple[Score, ...] = field(default=("mean",), metadata=unless(("mean",)))
    share: float = field(default=0.0, metadata=unless(0.0))
    joiner: str = field(default=" ", metadata=unless(" "))
    not_rivals: tuple[str, ...] = field(default=(), metadata=unless(()))

    def rivals(self) -> Iterator[str]:
        """Give the labels that the object has to beat, in their order."""
        beside = {self.object, *self.not_rivals}
        return (label for label in self.candidates if label not in beside)


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """What the base model says to a `HeldQuestion`, over all of its rivals.

    Attributes:
        holds: whether it holds the fact; None where its tokenizer cannot write the object.
        wins: by each score, whether the object beats every rival after the rewrite prompt.
        log_probabilities: by each score, the object's value after the rewrite prompt, in nats.
        strongest: by each score, the likeliest rival and its value; empty where there is none. Of all rivals only where
            that was asked for; else of those that were looked at until it was known whether the object wins.
        share: of the paraphrases on which the object wins by all scores that are required; None where they were not
            asked, because the question has none or the rewrite prompt is lost.
        tokens: of the object.
        rows: how many rows were run through the model, to see what pruning leaves.
    """

    holds: bool | None
    wins: Mapping[Score, bool] = field(default_factory=dict)
    log_probabilities: Mapping[Score, float] = field(default_factory=dict)
    strongest: Mapping[Score, tuple[str, float]] = field(default_factory=dict)
    share: float | None = None
    tokens: int = 0
    rows: int = 0


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
        shared: digest of the steps where many programs have the same ones: they are computed once for all of them, and
            draws are seeded by it. "" where they are the case's own.
    """

    case_id: str
    steps: tuple[tuple[EditRequest, ...], ...]
    states: tuple[State, ...]
    probes: tuple[AnyProbe, ...]
    held: tuple[HeldQuestion, ...] = ()
    shared: str = field(default="", metadata=unless(""))

    def together(self, digest: str, requests: tuple[EditRequest, ...]) -> Program:
        """Return the program with these edits in one step instead of its own, shared with others that have them."""
        return replace(self, steps=(requests,), shared=digest)

    @property
    def edits_id(self) -> str:
        """Who the edits belong to: the case, or all cases that share them."""
        return self.shared or self.case_id


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


SuitesOf = SuitePrograms | Sequence[SuitePrograms | None] | None
"""The suite that programs are from: one for all of them, or one for each; None where it is not known."""


def cause_id(suite: SuitePrograms | None, edits_id: str) -> str:
    """Return by what `causes` keeps a cause: whose edits they are (`Program.edits_id`), in their suite."""
    return edits_id if suite is None else f"{suite.name}/{edits_id}"


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """The answer to one probe: a value for each prompt or text.

    Attributes:
        probabilities: the values, whatever they measure; of a `Probe` ``exp(mean log-probability of the target's
            tokens)``.
        tokens: how many tokens the target has; None where it is not known (an engine that does not say) or there is
            no target.
        measure: what the values are.
        texts: what the model said after each prompt of a `Generated`; empty for the other forms.
    """

    fact: str
    state: str
    probabilities: tuple[float, ...]
    tokens: int | None = None
    measure: Measure = "probability"
    texts: tuple[str, ...] = ()

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
