"""The plots of runs: metrics by editor, shifts of probabilities, metrics by group of cases and by number of facts.

Which metrics are drawn by group and by number of facts is said by the kinds of pitfall (`Pitfall.plots_by_group`,
`Pitfall.plots_by_facts`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.pitfalls import PITFALLS, topics
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.reports.view.cases import fact_means
from pytest_editpitfalls.reports.view.facts import fact_words, follows_edits, ordered_states, state_words
from pytest_editpitfalls.reports.view.kinds import is_share, metric_named
from pytest_editpitfalls.reports.view.rules import rules_in_words
from pytest_editpitfalls.reports.view.run import RunView, without_figures
from pytest_editpitfalls.results.aggregates import summarise
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import CaseRecord, MetricAggregate

from .drawing import boxes, counted, dots, folded, legend, panels, rows_of_panels, write_figures
from .drawing import label as shown_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WHERE = "editpitfalls plot"

K = TypeVar("K")
V = TypeVar("V")


class Runs:
    """The runs of a plot.

    Attributes:
        series: editor on model -> scored cases; each has a colour.
        pitfalls: suite -> its kind; None where it is not installed.
    """

    def __init__(self, runs: Sequence[NamedRun]) -> None:
        self.views = {run.name: RunView(run.results) for run in runs}
        self._pairs = [{(each.editor, each.model) for each in run.results.aggregates} for run in runs]
        self.series: dict[str, list[CaseRecord]] = {}
        self.pitfalls: dict[str, AnyPitfall | None] = {}
        for run in runs:
            self.pitfalls |= self.views[run.name].pitfalls
            for case in run.results.cases:
                if case.is_scored:
                    _, editor, model = run.results.figures_of(case)
                    self.series.setdefault(self.label(editor, model, run.name), []).append(case)

    def label(self, editor: str, model: str, run: str) -> str:
        """Return what an editor on a model is called; after its run too where several have it."""
        models = {model for found in self._pairs for _, model in found}
        several = sum((editor, model) in found for found in self._pairs) > 1
        text = editor if len(models) == 1 else f"{editor} on {model}"
        return shown_label(f"{text} ({run})" if several else text)

    def metric(self, suite: str, name: str) -> Metric:
        """Return a metric that the kind of a suite has named."""
        found = metric_named(name, self.pitfalls[suite])
        assert found is not None, f"{name} is no metric of its kind"
        return found

    def title(self, suite: str, name: str) -> str:
        """Return a metric's title with an arrow that says which way is better."""
        metric = metric_named(name, self.pitfalls[suite])
        arrow = "" if metric is None else {True: " ↑", False: " ↓", None: ""}[metric.higher_is_better]
        return shown_label(name if metric is None else metric.title) + arrow

    def folded_title(self, suite: str, name: str) -> str:
        """Return a metric's title in several lines."""
        return folded(self.title(suite, name), _TITLE, breaks=False)

    def width(self, suite: str, names: Sequence[str]) -> float:
        """Return how wide metrics are beside one another: one where the longest word of their titles fits."""
        words = [word for name in names for word in self.folded_title(suite, name).splitlines()]
        return len(names) * max(1.0, max(map(len, words)) / (_TITLE - 0.5))

    def __iter__(self) -> Iterator[tuple[str, CaseRecord, AnyPitfall | None]]:
        """Each scored case with its series and its kind."""
        for label, cases in self.series.items():
            yield from ((label, case, self.pitfalls.get(case.suite)) for case in cases)


def write_plots(
    runs: Sequence[NamedRun], out: Path, file_format: str | None = None, only: Sequence[str] = ()
) -> list[Path]:
    """Draw the plots that the runs have figures for; return the files.

    Args:
        runs: an editor on a model is named after its run too where several have it.
        out: a directory (made where it is not there) for one file per plot; or a file, by its suffix: a PDF gets one
            page per plot, the other formats hold one plot.
        file_format: one of `drawing.FORMATS`; default: the file's suffix, PNG in a directory.
        only: names of plots (`plots`); default: all.

    Raises:
        UsageError: matplotlib is not installed, an unknown format or plot, nothing to draw, or it cannot be written.
    """
    known = plots()
    for name in only:
        if name not in known:
            raise UsageError(f"unknown plot '{name}'", where=WHERE, fix=did_you_mean(name, known))
    shown = Runs(runs)
    if not shown.series:
        words = not_drawn(runs) or without_figures(runs)
        raise UsageError(f"there is nothing to draw: {words}", where=WHERE, fix="name runs with scored cases")
    wanted = {name: partial(draw, shown) for name, draw in known.items() if not only or name in only}
    return write_figures(wanted, out, file_format, where=WHERE)


def not_drawn(runs: Sequence[NamedRun]) -> str | None:
    """Return what the runs have that no plot shows, and where it is shown; None where there is nothing of that kind."""
    if not any(run.results.properties for run in runs):
        return None
    return "properties of editors hold or not and have no figures: 'report' and 'table --latex' show them"


def plots() -> dict[str, Callable[[Runs], Figure | None]]:
    """Return name of a plot, and of its file -> what draws it; that gives None where there is nothing to draw."""
    by_facts = {
        topic.name: partial(facts, kinds=[kind.name for kind in PITFALLS if kind.topic == topic])
        for topic in topics()
        if any(kind.topic == topic and kind.plots_by_facts for kind in PITFALLS)
    }
    return {"metrics": metrics, "shifts": shifts, **by_facts, "rules": rules}


def metrics(runs: Runs) -> Figure | None:
    """Means with 95 % intervals: panels for each suite, a colour for each editor.

    Metrics from 0 to 1 share a panel; one with another range has a panel of its own, on its own scale.
    """
    cells: dict[str, dict[str, dict[str, MetricAggregate]]] = {}
    for run, view in runs.views.items():
        for each in view.results.aggregates:
            found = {name: each.metrics.get(name) for name in view.columns_of(each.suite)}
            known = {name: cell for name, cell in found.items() if cell is not None and cell.value is not None}
            if known:
                cells.setdefault(each.suite, {})[runs.label(each.editor, each.model, run)] = known
    if not cells:
        return None
    panels_of = {suite: _panels(suite, found, runs) for suite, found in cells.items()}
    wide = max(1.0, len(runs.series) / 4)
    figure, axes_of = rows_of_panels(
        [[wide * runs.width(suite, names) + _AXIS for names in parts] for suite, parts in panels_of.items()],
        at_most=_ROW,
    )
    for (suite, parts), several in zip(panels_of.items(), axes_of, strict=True):
        for axes, names in zip(several, parts, strict=True):
            drawn = [cell for of in cells[suite].values() for name, cell in of.items() if name in names]
            factor = _percent_of(names[0])
            for place, label in enumerate(runs.series):
                of = cells[suite].get(label, {})
                dots(
                    axes,
                    place,
                    len(runs.series),
                    [(x, of[name]) for x, name in enumerate(names) if name in of],
                    factor=factor,
                )
            axes.set_xticks(range(len(names)), [runs.folded_title(suite, name) for name in names])
            axes.set_xlim(-0.6, len(names) - 0.4)
            axes.axhline(0, color="black", linewidth=0.6)
            axes.set_ylabel("%" if factor == 100.0 else "")
            _whole_ticks(axes.yaxis, names[0])
            axes.set_title(shown_label(suite) + f", {counted(cell.n for cell in drawn)}" * (names is parts[0]))
    legend(figure, list(runs.series))
    return figure


_AXIS = 0.9
"""Width of an axis with its labels, in widths of a metric."""

_ROW = 15.0
"""Metrics and axes that a row holds."""

_TITLE = 7
"""Characters of a line of a metric's title."""


def _panels(suite: str, found: Mapping[str, Mapping[str, MetricAggregate]], runs: Runs) -> list[list[str]]:
    """The metrics of a suite by panel: those that share a scale, then each that does not."""
    names = list(dict.fromkeys(name for each in found.values() for name in each))
    alone = [name for name in names if (metric := metric_named(name, runs.pitfalls[suite])) and metric.high != 1.0]
    shared = [name for name in names if name not in alone]
    return [*([shared] if shared else []), *([name] for name in alone)]


def _percent_of(name: str) -> float:
    """What a metric is multiplied by: shares are drawn in per cent."""
    return 100.0 if is_share(name) else 1.0


def _whole_ticks(axis: Axis, name: str) -> None:
    """Put ticks at whole numbers, where the values of a metric are counts."""
    from matplotlib.ticker import MaxNLocator

    metric = metric_named(name)
    if metric is not None and 2.0 < metric.high < math.inf and metric.high.is_integer():
        axis.set_major_locator(MaxNLocator(integer=True))


def shifts(runs: Runs) -> Figure | None:
    """Mean probabilities of each fact before, after edit 1 and after both: boxes over cases."""
    values: dict[str, dict[tuple[str, str], dict[str, list[float]]]] = {}
    for label, case, pitfall in runs:
        for key, mean in _shown_means(case, pitfall).items():
            values.setdefault(case.suite, {}).setdefault(key, {}).setdefault(label, []).append(mean)

    def panel(axes: Axes, suite: str, found: Mapping[tuple[str, str], Mapping[str, list[float]]]) -> None:
        pitfall = runs.pitfalls.get(suite)
        facts = dict.fromkeys([*(pitfall.facts if pitfall is not None else ()), *(fact for fact, _ in found)])
        states = ordered_states(state for _, state in found)
        order = [(fact, state) for fact in facts for state in states if (fact, state) in found]
        for place, label in enumerate(runs.series):
            if drawn := [(x, found[key][label]) for x, key in enumerate(order) if label in found[key]]:
                boxes(axes, place, len(runs.series), drawn)
        width = max(8, 100 // len(order))
        names = [
            f"{folded(fact_words(pitfall, fact).short or fact, width)}\n{state_words(state).removeprefix('after ')}"
            for fact, state in order
        ]
        axes.set_xticks(range(len(order)), names, fontsize=7 if len(order) <= 12 else 5)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel("probability")

    def title(suite: str) -> str:
        return f"{suite}, {counted(len(each) for of in values[suite].values() for each in of.values())}"

    return _figure(runs, values, panel, columns=1, title=title)


def facts(runs: Runs, kinds: Sequence[str]) -> Figure | None:
    """Means of metrics by the number of a case's facts, with 95 % intervals: a panel for each suite and metric."""
    from matplotlib.ticker import MaxNLocator

    values: dict[tuple[str, str], dict[str, dict[int, list[CaseRecord]]]] = {}
    counts_of: dict[tuple[str, str], str] = {}
    for label, case, pitfall in runs:
        if pitfall is None or pitfall.name not in kinds or (wanted := pitfall.plots_by_facts) is None:
            continue
        asked = {probe.fact for probe in case.probes if _unnumbered(probe.fact) in wanted.facts}
        for name in wanted.metrics:
            if case.metrics.get(name) is not None and len(asked) > 1:
                known = values.setdefault((case.suite, name), {}).setdefault(label, {})
                known.setdefault(len(asked), []).append(case)
                counts_of[case.suite, name] = wanted.title

    def panel(axes: Axes, key: tuple[str, str], found: Mapping[str, Mapping[int, list[CaseRecord]]]) -> None:
        metric, factor = runs.metric(*key), _percent_of(key[1])
        for place, label in enumerate(runs.series):
            cells = [(count, summarise(metric, each)) for count, each in sorted(found.get(label, {}).items())]
            dots(axes, place, len(runs.series), cells, factor=factor, spread=0.3, line=True)
        axes.set_ylim(bottom=0 if metric.low == 0.0 else None)
        axes.set_xlabel(counts_of[key])
        axes.set_ylabel(f"{runs.title(*key)}{', %' if factor == 100.0 else ''}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    def title(key: tuple[str, str]) -> str:
        return f"{key[0]}, {counted(sum(map(len, of.values())) for of in values[key].values())}"

    return _figure(runs, values, panel, columns=2, title=title)


def rules(runs: Runs) -> Figure | None:
    """Means of metrics by group of cases, with 95 % intervals: a panel for each suite and metric."""
    values: dict[tuple[str, str], dict[str, dict[str, list[CaseRecord]]]] = {}
    for label, case, pitfall in runs:
        for name in () if pitfall is None or not case.rule else pitfall.plots_by_group:
            if case.metrics.get(name) is not None:
                known = values.setdefault((case.suite, name), {}).setdefault(case.rule, {})
                known.setdefault(label, []).append(case)
    in_words = rules_in_words(case for _, case, _ in runs)

    def name_of(found: Mapping[str, Sequence[CaseRecord]], rule: str) -> str:
        return f"{folded(in_words[rule], _RULE)}\n{counted(map(len, found.values()))}"

    def panel(axes: Axes, key: tuple[str, str], found: Mapping[str, Mapping[str, list[CaseRecord]]]) -> None:
        metric, order, factor = runs.metric(*key), sorted(found, key=in_words.__getitem__), _percent_of(key[1])
        for place, label in enumerate(runs.series):
            cells = [(y, summarise(metric, found[rule][label])) for y, rule in enumerate(order) if label in found[rule]]
            dots(axes, place, len(runs.series), cells, factor=factor, upright=False)
        axes.set_yticks(range(len(order)), [name_of(found[rule], rule) for rule in order], fontsize=7)
        axes.invert_yaxis()
        if metric.low == 0.0 and metric.high == 1.0:
            axes.set_xlim(-3, 103)
        axes.set_xlabel("%" if factor == 100.0 else "")

    def title(key: tuple[str, str]) -> str:
        return f"{key[0]}: {runs.title(*key)}"

    lines = [sum(1 + name_of(of, rule).count("\n") for rule, of in each.items()) for each in values.values()]
    tallest = max([*(0.25 * len(each) * max(1.0, len(runs.series) / 4) for each in values.values()), 0.0])
    height = max(2.2, max([tallest, *(0.14 * count for count in lines)]) + 0.8)
    return _figure(runs, values, panel, columns=2, height=height, title=title)


_RULE = 30
"""Characters of a line of a rule."""


def _figure(
    runs: Runs,
    values: Mapping[K, V],
    panel: Callable[[Axes, K, V], None],
    *,
    columns: int,
    height: float = 2.4,
    title: Callable[[K], str] = str,
) -> Figure | None:
    """Return a figure with a panel for each key and one legend; None where there are no values."""
    if not values:
        return None
    figure, axes_of = panels(len(values), columns=columns, height=height)
    for axes, (key, found) in zip(axes_of, values.items(), strict=True):
        panel(axes, key, found)
        axes.set_title(shown_label(title(key)))
    legend(figure, list(runs.series))
    return figure


def _shown_means(case: CaseRecord, pitfall: AnyPitfall | None) -> dict[tuple[str, str], float]:
    """Mean probability of each fact and state; numbered facts ("other:0", "other:1", ...) count as one."""
    found: dict[tuple[str, str], list[float]] = {}
    means = fact_means(case)
    for (fact, state), mean in means.items():
        if (fact, state) in means.measures:
            continue  # what is no probability has no place on its scale
        if follows_edits(state) and fact_words(pitfall, fact).short is not None:
            found.setdefault((_unnumbered(fact), state), []).append(mean)
    return {key: math.fsum(means) / len(means) for key, means in found.items()}


def _unnumbered(fact: str) -> str:
    name, _, number = fact.partition(":")
    return name if number.isdigit() else fact
