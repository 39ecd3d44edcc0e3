"""The weights of an edited checkpoint that differ from its base's, in words."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.results.checkpoint_records import EditedWeightRecord
from pytest_editpitfalls.results.records import RunResults
from pytest_editpitfalls.results.run_records import EditorRecord

from .words import count

SHOWN = 10
"""Weights that a report names, those that changed most; the JSON has all."""

HEADINGS = ("weight", "shape", "change", "entries", "rank")


@dataclass(frozen=True, slots=True)
class WeightTable:
    """The weights of one edited checkpoint that differ.

    Attributes:
        title: which checkpoint, and how many of its weights.
        rows: cells under `HEADINGS`, the greatest change first.
        below: lines below the table: how many more there are, and remarks.
    """

    title: str
    rows: list[tuple[str, str, str, str, str]]
    below: list[str]


def weight_tables(results: RunResults) -> list[WeightTable]:
    """Return one table for each edited checkpoint of a run; none in a run with an editor."""
    return [found for editor in results.run.editors if (found := _table(editor)) is not None]


def _table(editor: EditorRecord) -> WeightTable | None:
    checkpoint = editor.checkpoint
    if checkpoint is None:
        return None
    weights = sorted(checkpoint.edited_weights, key=_change, reverse=True)
    title = f"Weights that differ, {editor.name} and {editor.model}: {len(weights)} of {checkpoint.compared}"
    below = []
    if more := weights[SHOWN:]:
        below.append(f"and {count(len(more), 'weight')} more, changed by {_percent(more[0].change)} at most")
    below += [f"note: {remark}" for remark in checkpoint.remarks]
    return WeightTable(visible(title), [_row(each) for each in weights[:SHOWN]], [visible(line) for line in below])


def _row(weight: EditedWeightRecord) -> tuple[str, str, str, str, str]:
    return (
        visible(weight.name),
        " x ".join(map(str, weight.shape)) or "1",
        _percent(weight.change),
        _percent(weight.entries),
        "" if weight.rank is None else str(weight.rank),
    )


def _change(weight: EditedWeightRecord) -> float:
    return float("inf") if weight.change is None else weight.change


def _percent(share: float | None) -> str:
    return "from 0" if share is None else f"{100 * share:.3g} %"
