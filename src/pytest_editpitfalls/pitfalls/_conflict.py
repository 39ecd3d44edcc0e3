"""What reverse, composite and coverage have in common: two edits that contradict each other.

The facts and states follow the released code of the pitfalls benchmark. One fact is added: "replaced", the object that
edit 1 replaces, after edit 1; it tells whether edit 1 took at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Row
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.metrics.controls import gains_more, score_with_controls
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, PAPER, RELEASED, FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import edit_success, relative_loss, wins_on_rewrite_prompt
from pytest_editpitfalls.program import Probe

from ._pitfall import FactWords, PublishedFigures, ask
from ._published_files import (
    CITATION,
    CITED_AS,
    PublishedEdit,
    PublishedFile,
    Text,
    Triple,
    edit_of,
    fact_of,
    rows_of,
)
from ._released_layout import ReleasedFile, ReleasedLayout

FACTS: Mapping[str, FactWords] = MappingProxyType(
    {
        "old": FactWords("what edit 1 writes", "edit 1's fact"),
        # its one probability says nothing but whether edit 1 took
        "replaced": FactWords("what edit 1 replaces", in_story=False),
        "new_exp": FactWords("what edit 2 writes", "edit 2's fact"),
    }
)
IMPLIED: Mapping[str, FactWords] = MappingProxyType(
    {
        "new_imp": FactWords("what edit 2 implies", "implied fact"),
        "old_imp": FactWords("what edit 1 implies, asked as edit 2 is"),
    }
)


class ConflictRow(Row):
    """A row with two edits."""

    edits: tuple[Edit, Edit]


def bare(label: str) -> str:
    """Return a label without its article: "dog" after "a kind of" is "a dog" where it is the subject."""
    return re.sub(r"^(?:a|an|the) ", "", label)


def must_equal(field: str, value: str, other_field: str, other: str) -> None:
    """Refuse a row in which two fields of the edit chain should agree and do not; raises `RowError`."""
    if bare(value) != bare(other):
        raise RowError(field, f"'{value}' does not continue the chain: {other_field} is '{other}'", f"write '{other}'")


def must_differ(field: str, value: str, other_field: str, other: str) -> None:
    """Refuse a row whose two edits do not contradict each other; raises `RowError`."""
    if value == other:
        raise RowError(field, f"'{value}' makes no conflict: {other_field} is the same", "choose another object")


def conflict_probes(
    case: Case, implied: Mapping[str, Fact] = MappingProxyType({}), replaced_in: Sequence[str] = ("1",)
) -> tuple[Probe, ...]:
    """Return what all three kinds ask: both edits' facts, and those that they imply.

    Facts that are compared are asked before any edit and after edit 2 alone, too: a score needs its controls.

    Args:
        implied: ``new_imp`` and ``old_imp``, what edit 2 and edit 1 imply, where they imply something else than
            they write.
        replaced_in: the states in which the object is asked that edit 1 replaces.
    """
    first, second = case.edits
    probes = ask(case, "old", first.after, "0", "1", "12", "2")
    if _replaces(first):
        probes += ask(case, "replaced", first.before, *replaced_in)
    probes += ask(case, "new_exp", second.after, "0", "12", "2")
    for name, fact in implied.items():
        probes += ask(case, name, fact, "0", "12", "2")
    return probes


def replaced_by_edit_2(case: Case) -> tuple[Probe, ...]:
    """Return what asks for the object that edit 2 replaces, where no other fact of the case does."""
    second = case.edits[1]
    return ask(case, "replaced_2", second.before, "12", "2") if _replaces(second) else ()


def _replaces(edit: Edit) -> bool:
    """Whether there is another object to be replaced: the published files write some over themselves."""
    return edit.object not in ("", edit.new_object)


def _conflict_magnitude(p: FactProbabilities) -> float | None:
    loss = relative_loss("old", "1", "12")(p)
    return None if loss is None else max(loss, -1.0)


EDIT_SUCCESS = edit_success("old", "replaced")

CS_EXP = score_with_controls(
    "cs_exp",
    "CS exp",
    "new_exp",
    "old",
    definition="conflict score, explicit: p12(edit 2's fact) > p12(edit 1's fact)",
    source=f"{RELEASED}; the paper prints it in its tables and defines the implicit one",
    question="Does the later edit win? 1 when the model believes edit 2 rather than edit 1 after both.",
)
CS_IMP = score_with_controls(
    "cs_imp",
    "CS imp",
    "new_imp",
    "old",
    definition="conflict score, implicit: p12(fact that edit 2 implies) > p12(edit 1's fact)",
    source=PAPER.format(section="2.2"),
    question="Does what edit 2 implies win, too? 1 when the model draws the conclusion from edit 2.",
)
CS_SAME = score_with_controls(
    "cs_same",
    "CS same",
    "new_exp",
    "old_imp",
    definition="conflict score on one prompt: p12(edit 2's object) > p12(object that edit 1 implies there)",
    source=PAPER.format(section="2.2, its example"),
    question="Asked as edit 2 is, with two objects to choose from: does the later edit win?",
)


def _gain(name: str, title: str, newer: str, words: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        higher_is_better=True,
        low=0.0,
        high=1.0,
        definition=f"log P12 - log P0 of {words} > log P12 - log P0 of edit 1's fact; P: of the whole object",
        source=NOT_PUBLISHED,
        compute=gains_more(newer, "old"),
        question=f"Did {words} gain more by both edits than edit 1's? How usual an object is cancels out.",
        is_binary=True,
    )


CS_GAIN = _gain("cs_gain", "CS gain", "new_exp", "edit 2's fact")
CS_GAIN_IMP = _gain("cs_gain_imp", "CS gain imp", "new_imp", "the fact that edit 2 implies")


def edit_2_success(replaced: str) -> tuple[Metric, Metric]:
    """Return ES of edit 2 after both edits, and after edit 2 alone.

    Args:
        replaced: name of the fact that edit 2 replaces; it is asked in states 12 and 2.
    """

    def success(name: str, title: str, state: str, when: str) -> Metric:
        return Metric(
            name=name,
            title=title,
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition=f"edit success of edit 2 {when}: p{state}(target_new) > p{state}(target_true), rewrite prompt",
            source=NOT_PUBLISHED,
            compute=wins_on_rewrite_prompt("new_exp", replaced, state),
            question=f"Does edit 2 take {when}?",
            is_binary=True,
        )

    return success("es2", "ES 2", "12", "after edit 1"), success("es2_alone", "ES 2 alone", "2", "on its own")


CONFLICT_MAGNITUDE = (
    Metric(
        name="cm",
        title="CM",
        higher_is_better=True,
        low=-1.0,
        high=1.0,
        definition="conflict magnitude, released: max(-1, (p1 - p12) / p1) of edit 1's fact",
        source=RELEASED,
        compute=_conflict_magnitude,
        question="How far edit 2 pushes edit 1's fact out: 1 all of it, 0 nothing, below 0 it grew stronger.",
    ),
    Metric(
        name="cm_unclamped",
        title="CM unclamped",
        higher_is_better=True,
        low=None,
        high=1.0,
        definition="conflict magnitude, definition: (p1 - p12) / p1 of edit 1's fact",
        source=PAPER.format(section="2.2"),
        compute=relative_loss("old", "1", "12"),
        question="As CM, with no lower end.",
    ),
)


def figures(
    suite: str,
    metrics: Sequence[str],
    rows: Mapping[tuple[str, str], tuple[float, ...]],
    **more: Any,
) -> PublishedFigures:
    """Return the paper's figures of one suite.

    They are what the released code prints, so each column stands beside the metric that the released code computes.

    Args:
        suite: the suite.
        metrics: the metrics of the columns.
        rows: (model, editor) -> the columns in per cent.
        more: further fields of `PublishedFigures`.
    """
    cells = {(suite, model, editor): row for (model, editor), row in rows.items()}
    return PublishedFigures(tuple(metrics), cells, 2500, CITATION, cited_as=CITED_AS, **more)


def released_layout(modes: Mapping[str, str], own: Mapping[str, tuple[str, str]] = {}) -> ReleasedLayout:
    """Return how one of the three kinds stands in the layout of the released summary script.

    The explicit and the implicit conflict score are one field of one file there: there is a directory for each.

    Args:
        modes: directory -> the fact whose probability after both edits is held against edit 1's fact.
        own: further fields of a row: name -> (fact, state).
    """
    shared = {"CS_pre": ("old", "12"), "CM_pre": ("old", "1"), "CM_post": ("old", "12"), **own}
    return ReleasedLayout(
        groups=tuple(
            (ReleasedFile(f"{mode}/conflict_results/{{editor}}_{{suite}}.json", {**shared, "CS_post": (fact, "12")}),)
            for mode, fact in modes.items()
        ),
        divided_by=("CM_pre", "fact_0"),
    )


class PublishedConflict(TypedDict):
    """A row of `reverse_edit.json`, `composite_edit.json` or `coverage_edit.json` (there without a rule)."""

    type: Literal["reverse", "composite", "coverage"]
    rule: NotRequired[Text]
    triples: Annotated[list[Triple], Field(min_length=1, max_length=100)]
    edits: tuple[PublishedEdit, PublishedEdit]


_ROWS = rows_of(PublishedConflict)


def published_conflict(kind: str, row: type[Row], check: Any, tied: bool = False) -> PublishedFile:
    """Return how one of the three kinds is read from its published file.

    Args:
        kind: the kind, which a row's `type` names.
        row: the kind's row.
        check: looks at a published row and raises `RowError` where its edits are not of the kind.
        tied: whether the row's first triple is a tied fact.
    """

    def facts(published: PublishedConflict) -> list[Triple]:
        return [*published["edits"], *published["triples"][: int(tied)]]

    def base_facts(published: PublishedConflict) -> Iterable[Fact]:
        return map(fact_of, published["triples"])

    def made(case_id: str, group: str, published: PublishedConflict) -> Row:
        if published["type"] != kind:
            raise RowError(
                "type",
                f"'{published['type']}' in a file of {kind} cases",
                "put it into a file of its own",
            )
        check(published)
        more: dict[str, Any] = {"tied": fact_of(published["triples"][0])} if tied else {}
        edits = tuple(map(edit_of, published["edits"]))
        return row.model_construct(id=case_id, rule=group, edits=edits, **more)

    return PublishedFile(
        prompts="conflict_prompts.json",
        rows=_ROWS,
        recognises=lambda first: first.get("type") == kind,
        group=lambda published: published.get("rule", published["edits"][0]["relation"]["id"]),
        facts=facts,
        base_facts=base_facts,
        row=made,
    )
