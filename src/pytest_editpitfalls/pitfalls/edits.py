"""Edits: somebody's own edits, and the facts around each. Made by `--pitfalls-edits`, or written as a suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import Field

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.metrics.controls import share_with_controls
from pytest_editpitfalls.metrics.shared import staying
from pytest_editpitfalls.program import EditRequest, Program

from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, probes_of_changes, probes_of_staying
from ._pitfall import FactWords, Pitfall, ask, program_of
from ._topics import EDITS

MOST_AROUND = 100
"""Facts of one sort around an edit."""

Facts = Annotated[tuple[Fact, ...], Field(max_length=MOST_AROUND)]
Changes = Annotated[tuple[Edit, ...], Field(max_length=MOST_AROUND)]


@dataclass(frozen=True, slots=True)
class Together:
    """Edits that are written in one step, the same for all cases.

    Attributes:
        digest: of the edits: what cases and programs are compared by.
        requests: the edits.
    """

    digest: str
    requests: tuple[EditRequest, ...] = field(compare=False, repr=False)


class EditsRow(OneEditRow):
    """One edit, and the facts around it.

    Attributes:
        edits: the edit. Its object is what it replaces; in a list of edits it may be unknown ("").
        siblings: the other true objects of its subject and relation.
        others: what else is true of its subject.
        ties: facts that link its subject to those that its conclusions are about.
        neighbours: what is true of other subjects of its relation.
        inverses: what the edit says the other way round: the object that was true, and the one that ought to be.
        conclusions: the same of what follows from the edit by strict rules.
        expectations: the same of what is only usual.
    """

    siblings: Facts = ()
    others: Facts = ()
    ties: Facts = ()
    neighbours: Facts = ()
    inverses: Changes = ()
    conclusions: Changes = ()
    expectations: Changes = ()

    def around(self) -> Mapping[str, Sequence[Fact | Edit]]:
        """Return the facts around the edit by their fields."""
        return {name: getattr(self, name) for name in (*_STAYING, *_FOLLOWING)}

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edit and every fact around it."""
        around = {f"{name}.{place}": fact for name, facts in self.around().items() for place, fact in enumerate(facts)}
        return {**super().named_facts(), **around}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edit replaces, where that is known, and all facts around it that are true before."""
        for fact in (*self.edits, *(fact for facts in self.around().values() for fact in facts)):
            true = fact if isinstance(fact, Fact) else fact.before
            if true.object:
                yield true

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what the edit replaces, where that is known."""
        return super().held_facts() if self.edits[0].object else {}


class TogetherRow(EditsRow):
    """A row whose edit is written together with others: state 1 is the model after all of them."""

    together: Together


_STAYING: Mapping[str, str] = MappingProxyType(
    {"siblings": "sibling", "others": "other", "ties": "tie", "neighbours": "neighbour"}
)
_FOLLOWING: Mapping[str, str] = MappingProxyType(
    {"inverses": "inverse", "conclusions": "conclusion", "expectations": "expectation"}
)


class Edits(Pitfall[EditsRow]):
    """State 1 is the model after the edit, or after all edits of the list in one step."""

    name = "edits"
    question = "Does the edit take, does what follows from it follow, and does everything else stay?"
    topic = EDITS
    row = EditsRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "sibling": FactWords("another true object", "siblings"),
            "other": FactWords("another fact of the subject", "other facts"),
            "tie": FactWords("a fact that links the subject to another", "ties"),
            "neighbour": FactWords("a fact of another subject", "neighbours"),
            "neighbour_new": FactWords("the edit's object, of another subject", in_story=False),
            "inverse": FactWords("the edit the other way round", "inverses"),
            "inverse_old": FactWords("what it is held against", in_story=False),
            "conclusion": FactWords("what follows from the edit", "conclusions"),
            "conclusion_old": FactWords("what followed before", in_story=False),
            "expectation": FactWords("what usually follows from the edit", "expectations"),
            "expectation_old": FactWords("what usually followed before", in_story=False),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *share_with_controls(
            "neighbours_kept",
            "neighbours",
            "neighbour",
            "neighbour_new",
            what="the neighbours whose true object is likelier than the edit's",
            question="Do other subjects keep their own objects, or do they get the edit's as well?",
        ),
        *share_with_controls(
            "inverses",
            "inverses",
            "inverse",
            "inverse_old",
            what="the inverses whose new object is likelier than the former one",
            question="Does the model know the edit the other way round?",
        ),
        *share_with_controls(
            "conclusions",
            "conclusions",
            "conclusion",
            "conclusion_old",
            what="the conclusions by strict rules whose new object is likelier than the former one",
            question="Does what has to follow from the edit follow?",
        ),
        *share_with_controls(
            "expectations",
            "expectations",
            "expectation",
            "expectation_old",
            what="the conclusions by default rules whose new object is likelier than the former one",
            question="Does what usually follows from such a fact follow?",
        ),
        *staying("siblings", "sibling", "siblings", "the other true objects"),
        *staying("others", "other", "others", "the other facts of the subject"),
        *staying("ties", "tie", "ties", "the facts that link the subject to others"),
        *staying("neighbours", "neighbour", "neighbours", "the facts of other subjects")[1:],
    )
    thresholds = ("neighbours_kept_lift >= 0", "siblings_kept >= 0.5", "others_kept >= 0.5")
    columns = ("es", "ps", "neighbours_kept", "conclusions", "inverses", "siblings_kept", "others_kept")
    order = 5

    def program(self, case: Case, row: EditsRow) -> Program:
        """Ask for everything before and after the edit."""
        edit = row.edits[0]
        probes = list(ask(case, WRITTEN, edit.after, "0", "1"))
        if edit.object not in ("", edit.new_object):
            probes += ask(case, REPLACED, edit.before, "0", "1")
        for field_name, fact in _STAYING.items():
            instead = edit.new_object if fact == "neighbour" else None
            probes += probes_of_staying(case, fact, getattr(row, field_name), instead)
        for field_name, fact in _FOLLOWING.items():
            probes += probes_of_changes(case, fact, getattr(row, field_name))
        program = program_of(case, row.edits, probes)
        return program.together(row.together.digest, row.together.requests) if isinstance(row, TogetherRow) else program
