"""Ripple: does what follows from an edit follow, and is the new object said only where it was asked for?

RippleEdits (Cohen et al. 2023, arXiv:2307.12976) asks for the first, EVOKE (Zhang et al. 2024, arXiv:2410.07819) for
the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from pytest_editpitfalls.cases.case import Case, Edit, Fact
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.metrics.controls import share_of_pairs, share_with_controls, with_control
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.program import Program

from ._one_edit import (
    EDIT_SUCCESS,
    FACTS,
    REPLACED,
    WRITTEN,
    OneEditRow,
    edit_probes,
    probes_of_changes,
    probes_of_staying,
)
from ._pitfall import FactWords, Pitfall, program_of
from ._ripple_construction import RippleConstruction
from ._topics import SPREAD

RIPPLE_EDITS = "Cohen et al. 2023 (arXiv:2307.12976), RippleEdits: {axis}; here as probabilities"
EVOKE = "after Zhang et al. 2024 (arXiv:2410.07819), EVOKE: editing overfit"

MOST = 100
"""Facts of one sort in a case."""

Facts = Annotated[tuple[Fact, ...], Field(max_length=MOST)]
Changes = Annotated[tuple[Edit, ...], Field(max_length=MOST)]

AXES: Mapping[str, str] = MappingProxyType(
    {"aliases": "alias", "logical": "logical", "onward": "onward", "backward": "backward"}
)
"""Field of a row -> the fact in the program."""


class RippleRow(OneEditRow):
    """One edit (s, r, o -> o*), what follows from it, and what does not.

    Attributes:
        edits: the edit.
        premises: the facts besides the edit that its conclusions rest on.
        aliases: the edit under other names of s.
        logical: the edit the other way round: what was true of o*, and s in its place.
        onward: what follows about s: (o*, r2, x) is a premise and gives (s, r3, x).
        backward: what follows about another subject: (s2, r2, s) is a premise and gives (s2, r3, o*).
        others: further facts of s, which the edit does not touch.
    """

    premises: Facts = ()
    aliases: Changes = ()
    logical: Changes = ()
    onward: Changes = ()
    backward: Changes = ()
    others: Facts = ()

    @model_validator(mode="after")
    def _has_a_conclusion(self) -> RippleRow:
        if not any(getattr(self, name) for name in AXES):
            raise RowError("edits", "nothing follows from the edit", f"give one of {', '.join(AXES)}")
        if (self.onward or self.backward) and not self.premises:
            raise RowError("premises", "a conclusion by a rule rests on no premise", "name the fact that it rests on")
        for name in AXES:
            for place, each in enumerate(conclusions := getattr(self, name)):
                if each in conclusions[:place]:
                    raise RowError(
                        f"{name}.{place}", f"it is {name}.{conclusions.index(each)} again", "name each conclusion once"
                    )
                if each.new_object == each.object:
                    field = f"{name}.{place}.new_object"
                    raise RowError(field, "it is what was true before, so that nothing follows", "leave it out")
        return self

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return the edit, its premises, what follows and what does not."""
        fields = ("premises", *AXES, "others")
        more = {f"{name}.{place}": fact for name in fields for place, fact in enumerate(getattr(self, name))}
        return {**super().named_facts(), **more}

    def base_facts(self) -> Iterator[Fact]:
        """Give what the edit replaces, what followed from it, the premises and the other facts."""
        yield from (*super().base_facts(), *self.premises, *self.others)
        yield from (each.before for name in AXES for each in getattr(self, name))

    def held_facts(self) -> Mapping[str, Fact]:
        """Return what the edit replaces, the premises, what followed before, and the other facts.

        What followed before has to be held as well: what was never known gives way by itself.
        """
        old = {f"{name}_old": [each.before for each in getattr(self, field)] for field, name in AXES.items()}
        sorts: Mapping[str, Sequence[Fact]] = {"premise": self.premises, **old, "other": self.others}
        return {
            **super().held_facts(),
            **{f"{name}:{place}": fact for name, facts in sorts.items() for place, fact in enumerate(facts)},
        }


PAIRS: Sequence[tuple[str, str]] = tuple((fact, f"{fact}_old") for fact in AXES.values())


def _axis(name: str, title: str, fact: str, axis: str, what: str, question: str) -> Iterable[Metric]:
    return share_with_controls(
        name, title, fact, f"{fact}_old", what=what, question=question, source=RIPPLE_EDITS.format(axis=axis)
    )


class Ripple(Pitfall[RippleRow]):
    """The axes are those of RippleEdits; a conclusion counts where its new object is likelier than its old one."""

    name = "ripple"
    question = "Does what follows from an edit follow, and is the new object said only where it was asked for?"
    topic = SPREAD
    row = RippleRow
    facts: ClassVar = MappingProxyType(
        {
            **FACTS,
            "alias": FactWords("the edit under another name of its subject", "aliases"),
            "alias_old": FactWords("the former fact under another name", in_story=False),
            "logical": FactWords("the edit the other way round", "inverses"),
            "logical_old": FactWords("what it is held against", in_story=False),
            "onward": FactWords("what follows about the subject", "onward"),
            "onward_old": FactWords("what followed about it before", in_story=False),
            "backward": FactWords("what follows about another subject", "backward"),
            "backward_old": FactWords("what followed about it before", in_story=False),
            "premise": FactWords("a fact that a conclusion rests on", "premises"),
            "premise_new": FactWords("the edit's object in its place", in_story=False),
            "other": FactWords("a fact that the edit does not touch", "other facts"),
            "other_new": FactWords("the edit's object in its place", in_story=False),
        }
    )
    written, replaced = WRITTEN, REPLACED
    metrics = (
        *EDIT_SUCCESS,
        *with_control(
            "ripples",
            "ripples",
            lambda state: share_of_pairs(PAIRS, state),
            definition="share of all that follows (aliases, inverses, both compositions): p1(new) > p1(old)",
            before="ripples before any edit: p0(new) > p0(old)",
            asks_before="How much of it does the model say before any edit?",
            question="How much of what follows from the edit follows?",
            source=RIPPLE_EDITS.format(axis="all axes that follow from the edit"),
        ),
        *_axis(
            "subject_aliasing",
            "SA",
            "alias",
            "Subject Aliasing",
            "other names of the subject under which the edit's object is likelier than the former one",
            "Does the edit hold under other names of its subject?",
        ),
        *_axis(
            "logical_generalisation",
            "LG",
            "logical",
            "Logical Generalization",
            "the edit's inverses whose new object is likelier than the former one",
            "Does the model know the edit the other way round?",
        ),
        *_axis(
            "compositionality_1",
            "CI",
            "onward",
            "Compositionality I",
            "conclusions about the edited subject whose new object is likelier than the former one",
            "Does what is known of the new object become true of the subject?",
        ),
        *_axis(
            "compositionality_2",
            "CII",
            "backward",
            "Compositionality II",
            "conclusions about subjects that lead to the edited one whose new object is likelier than the former one",
            "Does the edit reach other subjects that it follows for?",
        ),
        *with_control(
            "not_overfit",
            "not overfit",
            lambda state: share_of_pairs([("premise", "premise_new"), ("other", "other_new")], state),
            definition="share of premises and other facts of the subject with p1(true object) > p1(o*)",
            before="not_overfit before any edit: p0(true object) > p0(o*)",
            asks_before="On how many of them does the model prefer the true object before any edit?",
            question="Where the edit is not asked for, is the true object still likelier than the edit's?",
            source=EVOKE,
        ),
    )
    thresholds = ("ripples >= 0.5", "not_overfit_lift >= 0")
    columns = (
        "es",
        "ps",
        "ripples",
        "subject_aliasing",
        "logical_generalisation",
        "compositionality_1",
        "compositionality_2",
        "not_overfit",
    )
    order = 21
    plots_by_group = ("ripples",)
    constructions: ClassVar = MappingProxyType({"ripple": RippleConstruction()})

    def program(self, case: Case, row: RippleRow) -> Program:
        """Ask for everything before and after the edit."""
        (change,) = row.edits
        probes = list(edit_probes(case))
        for field, name in AXES.items():
            probes += probes_of_changes(case, name, getattr(row, field))
        for name, facts in (("premise", row.premises), ("other", row.others)):
            probes += probes_of_staying(case, name, facts, change.new_object)
        return program_of(case, row.edits, probes)
