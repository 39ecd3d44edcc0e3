"""Said: does the model say the new object when it writes freely, and not only find it likelier than the old one?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from pydantic import Field

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.cases.labels import Label
from pytest_editpitfalls.knowledge import Knowledge, Thing
from pytest_editpitfalls.metrics.controls import change_with_control, share_of_pairs, with_control
from pytest_editpitfalls.metrics.metric import Compute
from pytest_editpitfalls.metrics.shared import value_of
from pytest_editpitfalls.probes import AnyProbe
from pytest_editpitfalls.program import Program

from ._construction import Candidate, Draw, SingleFacts, changed
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes
from ._pitfall import FactWords, Pitfall, program_of, say
from ._topics import SAID

MIRAGE = "Yang et al. 2025 (arXiv:2502.11177); WanliYoung/Revisit-Editing-Evaluation, test_prediction_acc_real"

TOKENS = 24
"""The most that is generated: a sentence that gives an object rarely has more."""

Names = Annotated[tuple[Label, ...], Field(max_length=20)]


class SaidRow(OneEditRow):
    """One edit, and other names of both objects: whoever says one of these says the object.

    Attributes:
        names: other names of the new object.
        old_names: other names of the object that is replaced.
    """

    names: Names = ()
    old_names: Names = ()


def _names(thing: Thing) -> list[str]:
    """Return the names of a thing other than the one that stands in the edit, as many as a row holds."""
    return [name for name in dict.fromkeys(thing.names) if name != thing.in_text][:20]


class SaidConstruction(SingleFacts):
    """Any fact of a relation with one object a subject, with the names that both objects go by."""

    share = 0

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        new = draw(knowledge.objects(fact.relation), fact)
        row: dict[str, Any] = {"edits": [changed(knowledge, fact, new)]}
        if names := _names(new):
            row["names"] = names
        if names := _names(fact.to):
            row["old_names"] = names
        return row


def _forced(state: str) -> Compute:
    """The share of prompts after which the new object is likelier than the old one, both given: teacher forcing."""
    return share_of_pairs([(WRITTEN, REPLACED)], state, by_prompt=True)


def _says(fact: str) -> Callable[[str], Compute]:
    """The share of prompts after which the model says a fact's answer, by state."""
    return partial(value_of, fact)


class Said(Pitfall[SaidRow]):
    """Teacher forcing puts the object's tokens there; here the model has to write them."""

    name = "said"
    question = "Does the model say the new object when it writes freely, or only find it likelier when it is given?"
    topic = SAID
    row = SaidRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "said": FactWords("what it says, held against the new object", "said"),
            "said_only": FactWords("the new object and nothing else", in_story=False),
            "said_old": FactWords("what it says, held against the old object", in_story=False),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *with_control(
            "said",
            "said",
            _says("said"),
            definition="share of the prompts whose greedy continuation, to its sentence's end, names the new object",
            before="said before any edit",
            asks_before="How often does the model say the new object before any edit?",
            question="How often does the model say the new object when it writes freely?",
            source=MIRAGE,
        ),
        *with_control(
            "forced",
            "forced",
            _forced,
            definition="share of the prompts with p1(new) > p1(true), both objects given: teacher forcing",
            before="forced before any edit: share of the prompts with p0(new) > p0(true)",
            asks_before="How often is the new object likelier before any edit?",
            question="How often is the new object likelier than the old one when both are given?",
        ),
        *change_with_control(
            "gap",
            "gap",
            ("forced", _forced),
            ("said", _says("said")),
            question="How much of the success under teacher forcing is not there when the model writes freely?",
            source=MIRAGE,
        ),
        *with_control(
            "said_only",
            "said only",
            _says("said_only"),
            definition="share of the prompts whose continuation is the new object and nothing else: exact match",
            before="said_only before any edit",
            asks_before="How often does the model say the new object and stop there before any edit?",
            question="How often does the model say the new object and stop there?",
            source=MIRAGE,
        ),
        *with_control(
            "said_old",
            "old said",
            _says("said_old"),
            definition="share of the prompts whose continuation still names the old object",
            before="said_old before any edit",
            asks_before="How often does the model say the old object before any edit, when it is true?",
            question="How often does the model still say what the edit replaced?",
            higher_is_better=False,
        ),
    )
    thresholds = ("said >= 0.5",)
    columns = ("es", "ps", "said", "forced", "gap", "said_old")
    order = 40
    constructions: ClassVar = MappingProxyType({"said": SaidConstruction()})

    def program(self, case: Case, row: SaidRow) -> Program:
        """Ask for both objects, and let the model write, before and after the edit."""
        (one,) = row.edits
        new, old = (one.new_object, *row.names), (one.object, *row.old_names)
        probes: tuple[AnyProbe, ...] = (
            *edit_probes(case),
            *say(case, "said", one.after, "0", "1", answers=new, match="contains", max_tokens=TOKENS),
            *say(case, "said_only", one.after, "0", "1", answers=new, match="alias", max_tokens=TOKENS),
            *say(case, "said_old", one.before, "0", "1", answers=old, match="contains", max_tokens=TOKENS),
        )
        return program_of(case, row.edits, probes)
