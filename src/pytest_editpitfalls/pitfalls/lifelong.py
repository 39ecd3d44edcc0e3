"""Lifelong: what is left of the first edits after many, and of everything else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Row
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.metrics.controls import with_control
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, Compute, FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import KEPT, drift, edit_success, perplexity_ratio, ratio, share_kept
from pytest_editpitfalls.probes import AnyProbe, Probe
from pytest_editpitfalls.program import Program, State

from ._neutral_texts import FIXED_TEXTS, TEXTS
from ._orders import OrdersOfEdits
from ._pitfall import FactWords, Pitfall, ask, divergence, perplexity, program_of
from ._topics import LIFELONG

STOPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""After how many edits a chain is asked, where a line does not say so; and the N of the metrics."""

MOST_EDITS = STOPS[-1]

PARAPHRASES = 2
"""Of each edit, asked at the end of the chain."""

WIKIBIGEDIT = "Thede et al. 2025 (arXiv:2503.05683); {what}"


def state_after(edits: int) -> str:
    """Name of the state after so many edits of the chain."""
    return "1" if edits == 1 else f"after {edits}"


class LifelongRow(Row):
    """Edits in their order, all of different subjects.

    Attributes:
        checkpoints: after how many edits the model is asked; without any, after 1, 2, 5, 10, 20, 50, 100, ... The end
            of the chain is one in any case.
        others: facts that no edit is about.
    """

    edits: Annotated[tuple[Edit, ...], Field(min_length=2, max_length=MOST_EDITS)]
    checkpoints: Annotated[tuple[int, ...], Field(max_length=100)] = ()
    others: Annotated[tuple[Fact, ...], Field(max_length=1_000)] = ()

    @model_validator(mode="after")
    def _is_a_chain(self) -> LifelongRow:
        places: dict[str, int] = {}
        for place, each in enumerate(self.edits):
            first = places.setdefault(plain(each.subject), place)
            if first != place:
                raise RowError(
                    f"edits.{place}.subject",
                    f"'{each.subject}' is edited by edits.{first} already: what is lost would be overwritten",
                    "give each edit a subject of its own",
                )
            if each.object == each.new_object:
                raise RowError(f"edits.{place}.new_object", "it is the present object", "give another object")
        for place, fact in enumerate(self.others):
            if plain(fact.subject) in places:
                raise RowError(
                    f"others.{place}.subject",
                    f"'{fact.subject}' is edited",
                    "give a fact of a subject that no edit has",
                )
        for place, stop in enumerate(self.checkpoints):
            if not 1 <= stop <= len(self.edits):
                raise RowError(
                    f"checkpoints.{place}", f"{stop} of {len(self.edits)} edits", "give a number of edits of the chain"
                )
        if any(second <= first for first, second in pairwise(self.checkpoints)):
            raise RowError("checkpoints", "they do not ascend", "write each number once, the smallest first")
        return self

    @property
    def stops(self) -> tuple[int, ...]:
        """After how many edits the model is asked; 1 and the end of the chain are among them."""
        return tuple(sorted({1, *(self.checkpoints or _stops_within(len(self.edits))), len(self.edits)}))

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edits and the facts that stay."""
        return {**super().named_facts(), **{f"others.{place}": fact for place, fact in enumerate(self.others)}}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edits replace, and the facts that stay."""
        yield from (*(each.before for each in self.edits), *self.others)

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what edit 1 replaces, and the facts that stay: what was never known cannot be kept."""
        return {**super().held_facts(), **{f"other:{place}": fact for place, fact in enumerate(self.others)}}


def _stops_within(edits: int) -> tuple[int, ...]:
    return tuple(stop for stop in STOPS if stop <= edits)


def _holds(p: FactProbabilities, place: int, state: str, new: str = "new", old: str = "old") -> bool | None:
    """Whether the object that an edit wrote is likelier than the one it replaced; None where that is unknown.

    "new" and "old" are compared after the rewrite prompt: in some states all prompts are asked, in most that alone.
    """
    written, replaced = _asked(p, f"{new}:{place}", state), _asked(p, f"{old}:{place}", state)
    return None if written is None or replaced is None else written > replaced


def _asked(p: FactProbabilities, fact: str, state: str) -> float | None:
    """The probability after the rewrite prompt; of what is asked in other words, the mean over these."""
    if fact.partition(":")[0].endswith("_rephrased"):
        return p.get((fact, state))
    values = p.prompts.get((fact, state))
    return values[0] if values else None


def retention(p: FactProbabilities, edits: int, state: str, new: str = "new", old: str = "old") -> float | None:
    """R: the share of the first ``edits`` edits that hold in a state; None where one is unknown."""
    found = [_holds(p, place, state, new, old) for place in range(edits)]
    return None if not found or None in found else sum(map(bool, found)) / edits


def stops_of(p: FactProbabilities) -> list[int]:
    """After how many edits a case was asked, ascending."""
    states = {state for _, state in p}
    return sorted(int(state.removeprefix("after ")) for state in states if state == "1" or state.startswith("after "))


def _end_of(p: FactProbabilities) -> str:
    """The state at the end of a chain."""
    return state_after(max(stops_of(p), default=1))


def _retention_at(edits: int) -> tuple[Metric, ...]:
    def score(state: str) -> Compute:
        asked = "0" if state == "0" else state_after(edits)
        return lambda p: retention(p, edits, asked)

    which = "edit 1" if edits == 1 else f"the first {edits:,} edits"
    return with_control(
        f"retention_{edits}",
        f"R({edits})",
        score,
        definition=f"R({edits}) = share of {which} with p(new) > p(old) after {edits:,} of the edits",
        before=f"the same before any edit: share of {which} with p0(new) > p0(old)",
        asks_before=f"What is R({edits}) before any edit?",
        question=f"How much of {which} is left when the last of them is made?",
        source=WIKIBIGEDIT.format(what="XiaojieGu/UltraEdit"),
        about=state_after(edits),
    )


def _at_the_end(new: str, old: str) -> Any:
    def score(state: str) -> Compute:
        def compute(p: FactProbabilities) -> float | None:
            end = max(stops_of(p), default=0)
            return retention(p, end, "0" if state == "0" else state_after(end), new, old) if end else None

        return compute

    return score


def _newest(p: FactProbabilities) -> float | None:
    """The share of the checkpoints at which the edit that was just made holds."""
    found = [_holds(p, stop - 1, state_after(stop)) for stop in stops_of(p)]
    return None if not found or None in found else sum(map(bool, found)) / len(found)


def _newest_before(p: FactProbabilities) -> float | None:
    found = [_holds(p, stop - 1, "0") for stop in stops_of(p)]
    return None if not found or None in found else sum(map(bool, found)) / len(found)


def _held_again(state: str) -> Compute:
    def compute(p: FactProbabilities) -> float | None:
        found = _holds(p, 0, "0" if state == "0" else "again")
        return None if found is None else float(found)

    return compute


class Lifelong(Pitfall[LifelongRow]):
    """State "after 100" is the model after the first 100 edits; "again" after all, with edit 1 written once more."""

    name = "lifelong"
    question = "What is left of the first edits after many, and what of everything else?"
    topic = LIFELONG
    row = LifelongRow
    facts: ClassVar = MappingProxyType(
        {
            "new": FactWords("what an edit writes", "what was written"),
            "old": FactWords("what it replaces", "what was replaced"),
            "new_rephrased": FactWords("what an edit writes, asked in other words", in_story=False),
            "old_rephrased": FactWords("what it replaces, asked in other words", in_story=False),
            "other": FactWords("a fact that nobody edited", "other facts"),
            "drift": FactWords("how far the next token is from the base model's, after questions that nobody edited"),
            "text": FactWords("texts that have nothing to do with the edits"),
        }
    )
    written, replaced = "new:0", "old:0"
    metrics = (
        *edit_success(written, replaced),
        *with_control(
            "retention",
            "R",
            _at_the_end("new", "old"),
            definition="share of all edits with p(new) > p(old) at the end of the chain",
            before="the same before any edit: share of all edits with p0(new) > p0(old)",
            asks_before="What is R before any edit?",
            question="How much of all edits is left at the end?",
            source=WIKIBIGEDIT.format(what="XiaojieGu/UltraEdit"),
        ),
        *with_control(
            "rephrased",
            "R rephrased",
            _at_the_end("new_rephrased", "old_rephrased"),
            definition=f"as retention, after the first {PARAPHRASES} paraphrases",
            before="the same before any edit",
            asks_before="What is R rephrased before any edit?",
            question="How much of all edits is left at the end when it is asked in other words?",
            source=WIKIBIGEDIT.format(what="rephrase"),
            about="new_rephrased",
        ),
        *with_control(
            "newest",
            "newest",
            lambda state: _newest_before if state == "0" else _newest,
            definition="share of the checkpoints N at which edit N itself holds: p(new) > p(old) after N edits",
            before="the same before any edit: share of these edits with p0(new) > p0(old)",
            asks_before="What is the share of newest edits before any edit?",
            question="Does an edit still take after so many others?",
        ),
        *with_control(
            "held_again",
            "held again",
            _held_again,
            definition="edit 1 is written once more after all the others: p(new) > p(old)",
            before="the same before any edit: p0(new) > p0(old)",
            asks_before="What does held again say before any edit?",
            question="Can what was written first be written again at the end?",
            is_binary=True,
        ),
        Metric(
            name="others_kept",
            title="others kept",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition=f"share of the facts that nobody edited with p >= {KEPT:g} p0 at the end of the chain",
            source=WIKIBIGEDIT.format(what="loc"),
            compute=lambda p: share_kept(p, "other", _end_of(p)),
            question="How many facts that nobody edited keep nine tenths of their probability?",
            about="other",
        ),
        drift(
            "the questions that nobody edited, at the end of the chain",
            "How far has the model moved where nobody edited it?",
            lambda p: p.get(("drift", _end_of(p))),
            about="drift",
        ),
        perplexity_ratio(
            "at the end",
            FIXED_TEXTS,
            "How much worse does the model predict ordinary text? 2 is twice as perplexed.",
            NOT_PUBLISHED,
            lambda p: ratio(p, "text", _end_of(p)),
        ),
        *(metric for stop in STOPS for metric in _retention_at(stop)),
    )
    thresholds = ("retention >= 0.8", "newest >= 0.8", "others_kept >= 0.5", "perplexity_ratio <= 2")
    columns = ("es", "retention_10", "retention_100", "retention", "newest", "others_kept", "drift", "perplexity_ratio")
    order = 31
    constructions: ClassVar = MappingProxyType({"lifelong": OrdersOfEdits()})

    def program(self, case: Case, row: LifelongRow) -> Program:
        """Ask all edits so far at every checkpoint, with the rewrite prompt, and everything else."""
        stops, end = row.stops, len(row.edits)
        states = [state_after(stop) for stop in stops]
        probes: list[AnyProbe] = []
        for place, each in enumerate(row.edits):
            in_states = [
                "0",
                *(state_after(stop) for stop in stops if stop > place),
                *(["again"] if place == 0 else []),
            ]
            for name, fact in (("new", each.after), ("old", each.before)):
                asked = ask(case, f"{name}:{place}", fact, *in_states)
                # edit 1 with all prompts in state 1, so that it tells whether it took as in every kind
                probes += [probe if probe.state == "1" else _shorter(probe, 0, 1) for probe in asked]
                if len(asked[0].prompts) > 1:
                    last = ask(case, f"{name}_rephrased:{place}", fact, "0", states[-1])
                    probes += [_shorter(probe, 1, 1 + PARAPHRASES) for probe in last]
        for place, other in enumerate(row.others):
            probes += ask(case, f"other:{place}", other, "0", *states)
        questions = [case.questions(other)[0] for other in row.others]
        if questions:
            probes += divergence("drift", questions, *states)
        probes += perplexity("text", TEXTS, "0", *states)
        program = program_of(case, row.edits, probes)
        chain = {"0": (), **{state_after(stop): tuple(range(stop)) for stop in stops}, "again": (*range(end), 0)}
        return replace(program, states=tuple(State(name, steps) for name, steps in chain.items()))


def _shorter(probe: Probe, start: int, end: int) -> Probe:
    """The probe with some of its prompts."""
    return replace(probe, prompts=probe.prompts[start:end])
