"""Strategies of hypothesis that draw sequences of edits from facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_editpitfalls.errors import UsageError

from .drawn import DrawnEdit, Edits, FactToEdit, are_unrelated

try:
    from hypothesis import strategies as st
except ImportError:
    raise UsageError(
        "hypothesis is not installed",
        where="properties of editors",
        fix='pip install "pytest-editpitfalls[properties]"',
    ) from None

SearchStrategy = st.SearchStrategy

MOST_EDITS = 3


def edits(facts: Sequence[FactToEdit]) -> SearchStrategy[DrawnEdit]:
    """One edit: a fact and an object that is not true. Shrinks to the first fact and its first other object."""
    return st.sampled_from(tuple(facts)).flatmap(lambda fact: st.sampled_from(fact.others).map(fact.edited))


def edit_sequences(
    facts: Sequence[FactToEdit], *, min_size: int = 1, max_size: int = MOST_EDITS
) -> SearchStrategy[Edits]:
    """Edits one after another; the same one may come twice, and two may be of one subject. Shrinks to fewer."""
    return st.lists(edits(facts), min_size=min_size, max_size=max_size).map(tuple)


def unrelated_edits(
    facts: Sequence[FactToEdit], *, min_size: int = 2, max_size: int = MOST_EDITS
) -> SearchStrategy[Edits]:
    """Edits of which no two have a subject, an old or a new object in common."""

    @st.composite
    def draw_all(draw: Any) -> Edits:
        drawn: list[DrawnEdit] = []
        left = list(facts)
        for _ in range(draw(st.integers(min_size, max_size))):
            left = [
                fact for fact in left if any(are_unrelated((*drawn, each)) for each in map(fact.edited, fact.others))
            ]
            if not left:
                break
            fact = draw(st.sampled_from(left))
            others = [label for label in fact.others if are_unrelated((*drawn, fact.edited(label)))]
            drawn.append(fact.edited(draw(st.sampled_from(others))))
        return tuple(drawn)

    return draw_all().filter(lambda drawn: len(drawn) >= min_size)


def related_edits(facts: Sequence[FactToEdit]) -> SearchStrategy[Edits]:
    """Two or three edits that are easily taken for one another: of two subjects of a relation, or of one subject.

    What an editor keeps by the wrong thing (a prompt, a subject) is seen on these. Shrinks to two subjects.
    """

    @st.composite
    def draw_all(draw: Any) -> Edits:
        first = draw(st.sampled_from(tuple(facts)))
        beside = [fact for fact in facts if fact.prompt == first.prompt and fact is not first] or [
            fact for fact in facts if fact is not first
        ]
        second = draw(st.sampled_from(beside or [first]))
        made = first.edited(draw(st.sampled_from(first.others)))
        others = [label for label in second.others if label != made.target] or list(second.others)
        other_subject = second.edited(draw(st.sampled_from(others)))
        again = [label for label in first.others if label != made.target] or list(first.others)
        other_object = first.edited(draw(st.sampled_from(again)))
        shapes = ((made, other_subject), (made, other_object), (made, other_subject, other_object))
        chosen: Edits = draw(st.sampled_from(shapes))
        return chosen

    return draw_all()
