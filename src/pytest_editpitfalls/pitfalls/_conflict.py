"""What reverse, composite and coverage have in common: two edits that contradict each other.

The facts and states follow the released code of the pitfalls benchmark. One fact is added: "replaced", the object that
edit 1 replaces, after edit 1; it tells whether edit 1 took at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Row
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.metrics.metric import PAPER, RELEASED, FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import edit_success, relative_loss, wins
from pytest_editpitfalls.program import Probe

from ._pitfall import FactWords, PublishedFigures, Topic, ask
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

CONFLICT = Topic("conflict", "Knowledge conflict")

FACTS: Mapping[str, FactWords] = MappingProxyType(
    {
        "old": FactWords("what edit 1 writes", "edit 1's fact"),
        # its one probability says nothing but whether edit 1 took
        "replaced": FactWords("what edit 1 replaces", in_story=False),
        "new_exp": FactWords("what edit 2 writes", "edit 2's fact"),
    }
)
IMPLIED = FactWords("what edit 2 implies", "implied fact")


class ConflictRow(Row):
    """A row with two edits."""

    edits: tuple[Edit, Edit]


def must_equal(field: str, value: str, other_field: str, other: str) -> None:
    """Refuse a row in which two fields of the edit chain should agree and do not; raises `RowError`."""
    if value != other:
        raise RowError(field, f"'{value}' does not continue the chain: {other_field} is '{other}'", f"write '{other}'")


def must_differ(field: str, value: str, other_field: str, other: str) -> None:
    """Refuse a row whose two edits do not contradict each other; raises `RowError`."""
    if value == other:
        raise RowError(field, f"'{value}' makes no conflict: {other_field} is the same", "choose another object")


def conflict_probes(case: Case, implied: Fact | None) -> tuple[Probe, ...]:
    """Return what all three kinds ask: both edits' facts, and the one that edit 2 implies where there is one."""
    first, second = case.edits
    probes = ask(case, "old", first.after, "1", "12")
    if first.object not in ("", first.new_object):  # the published files write some objects over themselves
        probes += ask(case, "replaced", first.before, "1")
    probes += ask(case, "new_exp", second.after, "12")
    if implied is not None:
        probes += ask(case, "new_imp", implied, "12")
    return probes


def _conflict_magnitude(p: FactProbabilities) -> float | None:
    loss = relative_loss("old", "1", "12")(p)
    return None if loss is None else max(loss, -1.0)


EDIT_SUCCESS = edit_success("old", "replaced")

CS_EXP = Metric(
    name="cs_exp",
    title="CS exp",
    higher_is_better=True,
    low=0.0,
    high=1.0,
    definition="conflict score, explicit: p12(edit 2's fact) > p12(edit 1's fact)",
    source=RELEASED,
    compute=wins(("new_exp", "12"), ("old", "12")),
    question="Does the later edit win? 1 when the model believes edit 2 rather than edit 1 after both.",
    is_binary=True,
)
CS_IMP = Metric(
    name="cs_imp",
    title="CS imp",
    higher_is_better=True,
    low=0.0,
    high=1.0,
    definition="conflict score, implicit: p12(fact that edit 2 implies) > p12(edit 1's fact)",
    source=RELEASED,
    compute=wins(("new_imp", "12"), ("old", "12")),
    question="Does what edit 2 implies win, too? 1 when the model draws the conclusion from edit 2.",
    is_binary=True,
)
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
