"""The figures: metrics by editor, shifts of probabilities, distortion by true objects, conflict by rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_editpitfalls.pitfalls import METRICS
from pytest_editpitfalls.results.aggregates import summarise
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import CaseRecord, MetricAggregate

from .drawing import boxes, dots, legend, panels
from .drawing import label as shown_label
from .tables import both_tables
from .tables import rows as table_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHIFT_STATES = {"0": "before", "1": "edit 1", "12": "both"}
_SHIFT_FACTS = {
    "old": "edit 1's fact",
    "new_exp": "edit 2's fact",
    "new_imp": "implied fact",
    "tied": "tied fact",
    "object": "o1",
    "new_object": "o*",
    "other": "other objects",
}

Series = Mapping[str, Sequence[CaseRecord]]
"""Editor on model -> scored cases."""


def labelled(runs: Sequence[NamedRun]) -> Iterator[tuple[NamedRun, Callable[[str, str], str]]]:
    """Each run with what its editors on its models are called."""
    pairs = [{(each.editor, each.model) for each in run.results.aggregates} for run in runs]
    models = {model for found in pairs for _, model in found}
    for run in runs:

        def label(editor: str, model: str, run: NamedRun = run) -> str:
            several = sum((editor, model) in found for found in pairs) > 1
            text = editor if len(models) == 1 else f"{editor} on {model}"
            return shown_label(f"{text} ({run.name})" if several else text)

        yield run, label


def series_of(runs: Sequence[NamedRun]) -> dict[str, list[CaseRecord]]:
    """Return the scored cases of each editor on each model."""
    series: dict[str, list[CaseRecord]] = {}
    for run, label in labelled(runs):
        for case in run.results.cases:
            if case.is_scored:
                series.setdefault(label(case.editor, case.model), []).append(case)
    return series


def metrics(series: Series, runs: Sequence[NamedRun]) -> Figure | None:
    """Means with 95 % intervals: a panel for each suite, a colour for each editor."""
    cells: dict[str, dict[str, dict[str, MetricAggregate]]] = {}
    for run, name in labelled(runs):
        kinds = {suite.name: suite.kind for suite in run.results.run.suites}
        for _, rows, columns in both_tables(table_rows(run.results, kinds, {}), kinds):
            for row in rows:
                label = name(row.editor, row.model)
                cells.setdefault(row.suite, {})[label] = {
                    title: row.cells[metric] for metric, title in columns.items() if metric in row.cells
                }
    cells = {suite: found for suite, found in cells.items() if any(found.values())}
    if not cells:
        return None
    figure, axes_of = panels(list(cells), columns=1 if len(series) > 4 else 2)
    for axes, (suite, found) in zip(axes_of, cells.items(), strict=True):
        titles = list(dict.fromkeys(title for each in found.values() for title in each))
        for place, label in enumerate(series):
            known = [
                (x, found[label][title]) for x, title in enumerate(titles) if title in found.get(label, {})
            ]
            dots(axes, place, len(series), [(x, cell) for x, cell in known if cell.value is not None])
        axes.set_xticks(range(len(titles)), titles)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_ylabel("%")
        axes.set_title(shown_label(suite))
    legend(figure, list(series))
    return figure


def shifts(series: Series) -> Figure | None:
    """Mean probabilities of each fact in the states before, after edit 1 and after both: boxes over cases."""
    values: dict[str, dict[tuple[str, str], dict[str, list[float]]]] = {}
    for label, cases in series.items():
        for case in cases:
            for fact, state, mean in _means(case):
                known = values.setdefault(case.suite, {}).setdefault((fact, state), {})
                known.setdefault(label, []).append(mean)
    if not values:
        return None
    figure, axes_of = panels(list(values), columns=1)
    for axes, (suite, facts) in zip(axes_of, values.items(), strict=True):
        order = [(fact, state) for fact in _SHIFT_FACTS for state in _SHIFT_STATES if (fact, state) in facts]
        for place, label in enumerate(series):
            drawn = [(x, facts[key][label]) for x, key in enumerate(order) if label in facts[key]]
            if drawn:
                boxes(axes, place, len(series), drawn)
        names = [f"{_SHIFT_FACTS[fact]}\n{_SHIFT_STATES[state]}" for fact, state in order]
        axes.set_xticks(range(len(order)), names, fontsize=7)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("probability")
        axes.set_title(shown_label(suite))
    legend(figure, list(series))
    return figure


def distortion(series: Series) -> Figure | None:
    """Mean distortion by the number of true objects, with 95 % intervals."""
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    for label, cases in series.items():
        for case in cases:
            value = case.metrics.get("distortion_released")
            objects = len({probe.fact for probe in case.probes if probe.fact.startswith("other:")}) + 1
            if value is not None and objects > 1:
                known = values.setdefault(case.suite, {}).setdefault(label, {})
                known.setdefault(objects, []).append(value)
    if not values:
        return None
    from matplotlib.ticker import MaxNLocator

    metric = METRICS.get("distortion_released")
    figure, axes_of = panels(list(values), columns=2)
    for axes, (suite, found) in zip(axes_of, values.items(), strict=True):
        for place, label in enumerate(series):
            cells = [
                (objects, summarise(metric, each)) for objects, each in sorted(found.get(label, {}).items())
            ]
            dots(axes, place, len(series), cells, spread=0.3, line=True)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("true objects")
        axes.set_ylabel("D (released), %")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(shown_label(suite))
    legend(figure, list(series))
    return figure


def rules(series: Series) -> Figure | None:
    """Conflict scores by rule, with 95 % intervals."""
    values: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for label, cases in series.items():
        for case in cases:
            for metric in ("cs_exp", "cs_imp"):
                value = case.metrics.get(metric)
                if value is not None and case.rule:
                    known = values.setdefault((case.suite, metric), {}).setdefault(case.rule, {})
                    known.setdefault(label, []).append(value)
    if not values:
        return None
    names = [f"{suite}: {METRICS.get(metric).title}" for suite, metric in values]
    tallest = max(len(rules) for rules in values.values())
    figure, axes_of = panels(
        names, columns=2, height=max(2.2, 0.25 * tallest * max(1.0, len(series) / 4) + 0.8)
    )
    for axes, name, ((_, metric), rules) in zip(axes_of, names, values.items(), strict=True):
        order = sorted(rules)
        for place, label in enumerate(series):
            cells = [
                (y, summarise(METRICS.get(metric), rules[rule][label]))
                for y, rule in enumerate(order)
                if label in rules[rule]
            ]
            dots(axes, place, len(series), cells, upright=False)
        axes.set_yticks(range(len(order)), [shown_label(rule) for rule in order])
        axes.invert_yaxis()
        axes.set_xlim(-3, 103)
        axes.set_xlabel("%")
        axes.set_title(shown_label(name))
    legend(figure, list(series))
    return figure


def _means(case: CaseRecord) -> Iterator[tuple[str, str, float]]:
    """Mean probability of each fact and state; all other true objects count as one fact."""
    found: dict[tuple[str, str], list[float]] = {}
    for probe in case.probes:
        fact = "other" if probe.fact.startswith("other:") else probe.fact
        known = [value for value in probe.probabilities if value is not None]
        if known and fact in _SHIFT_FACTS and probe.state in _SHIFT_STATES:
            found.setdefault((fact, probe.state), []).append(math.fsum(known) / len(known))
    for (fact, state), means in found.items():
        yield fact, state, math.fsum(means) / len(means)
