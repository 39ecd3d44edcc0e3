"""What editors break, beside a model that nobody edited: the table of docs/findings.md.

    pytest --editor=rome --pitfalls-json=rome.json     # one run of all suites for each editor
    python -m benchmarks.findings rome.json memit.json ft-l.json mend.json

Runs of one editor may stand in several files, say one for each suite.

The row without an edit needs no run of its own: every case is asked in state 0 too. Means are in per cent, their
intervals are of 95 %, by subject of edit 1, computed anew from the cases.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.tables import table
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.reports.view.kinds import figure, figure_interval
from pytest_editpitfalls.reports.view.words import TOO_FEW, ends
from pytest_editpitfalls.results import AggregateRecord, RunResults, read_results
from pytest_editpitfalls.results.aggregates import aggregate

NO_EDIT = "no edit"

CONFLICT = ("es", "es2", "cs_exp", "cs_exp_lift", "cs_imp", "cs_imp_lift", "cs_same", "cs_same_lift", "cs_gain", "cm")
TIED = ("tfd_released", "tfd", "tfd_edit1", "tied_log_ratio")
DISTORTION = ("es", "succ", "distortion", "ir", "ir_10", "fr", "mass_ratio", "mass_ratio_others")
TABLES = (
    ("Conflict", ("reverse", "composite", "coverage"), CONFLICT),
    ("Tied facts", ("composite",), TIED),
    ("Distortion", ("easy", "hard"), DISTORTION),
)
PAPER = frozenset({"conflict", "distortion"})
"""Topics that the tables above are about."""

OF_NO_EDIT = {score: f"{score}_0" for score in ("cs_exp", "cs_imp", "cs_same")}
"""Metric -> the one that says the same of the model before any edit."""
NEUTRAL = {"distortion": 0.0, "ir": 0.0, "ir_10": 0.0, "fr": 0.0, "mass_ratio": 1.0, "mass_ratio_others": 1.0}
"""What a model that is not changed scores, by definition."""


def aggregates_of(runs: Iterable[RunResults]) -> dict[tuple[str, str], AggregateRecord]:
    """Return (suite, editor) -> aggregate, computed from the cases."""
    found = {}
    for run in runs:
        for record in aggregate(run.cases, {suite.name: suite.kind for suite in run.run.suites}):
            found[record.suite, record.editor] = record
    return found


def cell(record: AggregateRecord | None, metric: str) -> str:
    """Return a mean with its interval, in per cent; logarithms as they are."""
    known = None if record is None else record.metrics.get(metric)
    if known is None or known.value is None:
        return ""
    scale, form = (1.0, ".2f") if metric.startswith("tied_log") else (100.0, ".0f")
    between = ends(known.low, known.high, lambda end: f"{scale * end:{form}}") or TOO_FEW
    return f"{scale * known.value:{form}} {between}"


def without_edit(record: AggregateRecord, metric: str) -> str:
    """Return the same figure before any edit."""
    if metric in NEUTRAL:
        return f"{100 * NEUTRAL[metric]:.0f}"
    return cell(record, OF_NO_EDIT[metric]) if metric in OF_NO_EDIT else ""


def tables(runs: Sequence[RunResults]) -> str:
    """Return all tables as Markdown."""
    found = aggregates_of(runs)
    editors = list(dict.fromkeys(editor for _, editor in found))
    parts = []
    for title, suites, metrics in TABLES:
        rows = []
        for suite in suites:
            records = [found[suite, editor] for editor in editors if (suite, editor) in found]
            if not records:
                continue
            rows.append([suite, NO_EDIT, str(records[0].n), *(without_edit(records[0], metric) for metric in metrics)])
            rows += [
                [suite, record.editor, str(record.n), *(cell(record, metric) for metric in metrics)]
                for record in records
            ]
        if rows:
            parts.append(f"{title}\n\n" + table(["suite", "editor", "n", *(f"`{metric}`" for metric in metrics)], rows))
    return "\n\n".join([*parts, *later_tables(runs, found, editors)])


def later_tables(
    runs: Iterable[RunResults], found: Mapping[tuple[str, str], AggregateRecord], editors: Sequence[str]
) -> list[str]:
    """Return a table for each suite of a later pitfall: its columns and their lifts, a row for each editor.

    What no case measures has no column. The first row is the model before any edit, for the scores that have such a
    control.
    """
    kinds = {suite.name: suite.kind for run in runs for suite in run.run.suites}
    parts = []
    for kind in PITFALLS:
        if kind.topic.name in PAPER:
            continue
        for suite in [name for name, own in kinds.items() if own == kind.name]:
            records = [found[suite, editor] for editor in editors if (suite, editor) in found]
            own = {metric.name for metric in kind.metrics}
            metrics = [each for name in kind.columns for each in (name, f"{name}_lift") if each in own]
            metrics = [metric for metric in metrics if any(later_cell(record, metric) for record in records)]
            controls = [later_cell(records[0], f"{metric}_0") if f"{metric}_0" in own else "" for metric in metrics]
            rows = [[NO_EDIT, str(records[0].n), *controls]] if any(controls) else []
            rows += [
                [record.editor, str(record.n), *(later_cell(record, metric) for metric in metrics)]
                for record in records
            ]
            head = ["editor", "n", *(f"`{metric}`" for metric in metrics)]
            parts.append(f"{kind.topic.title}: {suite}\n\n" + table(head, rows))
    return parts


def later_cell(record: AggregateRecord, metric: str) -> str:
    """Return a mean with its interval as reports write them: a share in per cent, else as it is."""
    known = record.metrics.get(metric)
    if known is None or known.value is None:
        return ""
    return f"{figure(metric, known.value, 0)} {figure_interval(metric, known, 0) or TOO_FEW}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN.json")
    print(tables([read_results(path) for path in parser.parse_args().runs]))


if __name__ == "__main__":
    main()
