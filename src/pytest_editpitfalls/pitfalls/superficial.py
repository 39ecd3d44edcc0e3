"""Superficial: the edit is there as long as nobody mentions the object that it replaced."""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import model_validator

from pytest_editpitfalls.cases.case import Case, fill
from pytest_editpitfalls.cases.labels import Context
from pytest_editpitfalls.cases.leaks import contains_label
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.knowledge import Knowledge, KnownRelation
from pytest_editpitfalls.metrics.controls import (
    change_with_control,
    share_of_pairs,
    share_with_controls,
    with_control,
)
from pytest_editpitfalls.metrics.metric import Compute, Metric
from pytest_editpitfalls.metrics.shared import value_of
from pytest_editpitfalls.program import Program

from ._construction import Candidate, Draw, SingleFacts
from ._one_edit import EDIT_SUCCESS, FACTS, REPLACED, WRITTEN, OneEditRow, edit_probes
from ._pitfall import FactWords, Pitfall, ask, in_context, program_of, say
from ._topics import SPREAD

SOURCE = "Xie et al. 2025 (arXiv:2505.12636), {score}; jiakuan929/superficial-editing, evaluation/eval_utils.py"

REPEATS = 10
"""How often the old object stands before a prompt."""

SAID_TOKENS = 8
"""Tokens that the model says after an attacked prompt."""

ATTACKS = ("repeated", "question")


class SuperficialRow(OneEditRow):
    """One edit, and two texts that bring the object that it replaces to mind, without saying that it is right.

    Attributes:
        repeated: the old object, over and over.
        question: a question whether it is the old object.
    """

    repeated: Context
    question: Context

    @model_validator(mode="after")
    def _name_the_old_object(self) -> SuperficialRow:
        (edit,) = self.edits
        for name in ATTACKS:
            text = getattr(self, name)
            if not contains_label(text, edit.object):
                raise RowError(
                    name,
                    f"'{text[:60]}' does not name the object that the edit replaces",
                    f"write a text with '{edit.object}' in it",
                )
        return self


class SuperficialConstruction(SingleFacts):
    """Of each relation with one object a subject: its facts."""

    share = 0

    def takes(self, relation: KnownRelation) -> bool:
        return bool(relation.query) and relation.joiner == " "  # the question is an English one

    def row(self, knowledge: Knowledge, candidate: Candidate, draw: Draw) -> dict[str, Any]:
        fact = candidate.edited
        query = fill(knowledge.relations[fact.relation].wording(fact.subject_number).query, fact.of.in_text)
        return {
            **super().row(knowledge, candidate, draw),
            "repeated": " ".join([fact.to.in_text] * REPEATS),
            "question": f"{query} Is it {fact.to.in_text}?",
        }


_BY_ATTACK = [(f"{attack}_true", f"{attack}_new") for attack in ATTACKS]


def _op(state: str) -> Compute:
    return share_of_pairs(_BY_ATTACK, state, by_prompt=True)


def _plain(state: str) -> Compute:
    return share_of_pairs([(REPLACED, WRITTEN)], state, by_prompt=True)


def _of_attack(attack: str, what: str) -> tuple[Metric, ...]:
    return share_with_controls(
        f"op_{attack}",
        f"OP {attack}",
        f"{attack}_true",
        f"{attack}_new",
        what=f"the prompts behind {what} after which the old object is likelier than the new one",
        question=f"How often is the old object back behind {what}?",
        source=SOURCE.format(score="OP"),
        by_prompt=True,
        higher_is_better=False,
    )


class Superficial(Pitfall[SuperficialRow]):
    """State 0 prefers the old object, as it is true: how far below that an edit comes is its lift."""

    name = "superficial"
    question = "Does the old object come back as soon as it is mentioned?"
    topic = SPREAD
    row = SuperficialRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "repeated_true": FactWords("the old object, behind its own repetition", "old, repeated"),
            "repeated_new": FactWords("the new object, behind the old one's repetition", "new, repeated"),
            "question_true": FactWords("the old object, behind a question that names it", "old, asked"),
            "question_new": FactWords("the new object, behind a question that names the old one", "new, asked"),
            "said": FactWords("the old object, said behind either"),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *with_control(
            "op",
            "OP",
            _op,
            definition="share of the attacked prompts after which the old object is likelier: p1(true) > p1(new)",
            before="op before any edit: p0(true) > p0(new)",
            asks_before="What is OP before any edit, when the old object is true?",
            question="How often is the old object likelier again, as soon as it is mentioned?",
            source=SOURCE.format(score="OP"),
            higher_is_better=False,
        ),
        *_of_attack("repeated", "its own repetition"),
        *_of_attack("question", "a question that names it"),
        *with_control(
            "op_plain",
            "OP plain",
            _plain,
            definition="share of the relation's prompts, nothing before them, with p1(true) > p1(new)",
            before="op_plain before any edit: p0(true) > p0(new)",
            asks_before="What is OP plain before any edit, when the old object is true?",
            question="How often is the old object likelier where nobody mentions it?",
            higher_is_better=False,
        ),
        *change_with_control(
            "op_rise",
            "OP rise",
            ("op", _op),
            ("op_plain", _plain),
            question="How much more often is it likelier because it is mentioned?",
        ),
        *with_control(
            "om",
            "OM",
            partial(value_of, "said"),
            definition=f"share of the attacked rewrite prompts after which the model says the old object: the first "
            f"{SAID_TOKENS} tokens of its greedy continuation contain it",
            before="om before any edit",
            asks_before="What is OM before any edit, when the old object is true?",
            question="How often does the model say the old object, as soon as it is mentioned?",
            source=SOURCE.format(score="OM"),
            higher_is_better=False,
        ),
    )
    thresholds = ("op <= 0.5",)
    columns = ("es", "ps", "op", "op_plain", "om")
    order = 12
    constructions: ClassVar = MappingProxyType({"superficial": SuperficialConstruction()})

    def program(self, case: Case, row: SuperficialRow) -> Program:
        """Ask for both objects behind each attack, and what the model says there."""
        (edit,) = row.edits
        probes = edit_probes(case)
        attacks = {attack: getattr(row, attack) for attack in ATTACKS}
        for attack, text in attacks.items():
            probes += ask(case, f"{attack}_true", edit.before, "0", "1", context=text)
            probes += ask(case, f"{attack}_new", edit.after, "0", "1", context=text)
        prompts = [in_context(case, edit.before, text)[0] for text in attacks.values()]
        said = say(
            case,
            "said",
            prompts,
            "0",
            "1",
            answers=[edit.object],
            match="contains",
            max_tokens=SAID_TOKENS,
            stop="line",
        )
        return program_of(case, row.edits, (*probes, *said))
