"""The tables of stored runs in a paper's form, for booktabs: one for each topic, and the properties of editors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import PITFALLS, Topic, merged
from pytest_editpitfalls.pitfalls import topics as known_topics
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import AggregateRecord

from .view.kinds import by_columns, figure, metric_named, titled, without_released
from .view.properties import OUTCOMES, UNSEEN, PropertyRow
from .view.run import RunView, without_figures
from .view.tables import Controlled, controlled_of
from .view.words import lift

WHERE = "editpitfalls table --latex"

_SPELLED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
}

_MARK = r"$^{\dagger}$"
_BELOW = r"$^{\ddagger}$"

_NARROW = 5
"""Columns of figures that fit into one column of a page; more take both."""

_WIDEST = 12
"""Columns of figures that can be read across a page; a suite that would make them more begins another table."""

_NO_WIDER = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}"
"""What follows is scaled down where it would be wider than its place."""

Column = tuple[str, str]
"""Suite, metric."""


@dataclass
class _Suite:
    """The columns of a suite; suites of several runs that stand for the same published one share them."""

    pitfall: AnyPitfall | None
    metrics: list[str]


@dataclass
class _Line:
    """One line of a table: an editor on a model."""

    model: str
    name: str
    reliable: bool = True
    values: dict[Column, float] = field(default_factory=dict)
    controlled: dict[Column, Controlled] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)


class _Tables:
    """Suites and lines of several runs, by topic."""

    def __init__(self, runs: Sequence[NamedRun]) -> None:
        self.topics: dict[Topic, dict[str, _Suite]] = {}
        self.lines: dict[tuple[str, str], _Line] = {}
        for run in runs:
            view = RunView(run.results)
            for aggregate in run.results.aggregates:
                self._add(run, view, aggregate)

    def _add(self, run: NamedRun, view: RunView, aggregate: AggregateRecord) -> None:
        pitfall = view.pitfalls[aggregate.suite]
        suite = aggregate.suite if pitfall is None else pitfall.published_suite(aggregate.suite)
        name = aggregate.editor
        known = self.lines.get((aggregate.model, name))
        if known is not None and suite in known.counts:
            name = f"{name} ({run.name}, {aggregate.suite})"
        line = self.lines.setdefault((aggregate.model, name), _Line(aggregate.model, name))
        if not aggregate.n:
            return
        line.counts[suite] = aggregate.n
        line.reliable = line.reliable and aggregate.reliable is not False
        metrics = _columns(pitfall, view.format_of(aggregate.suite)) or list(aggregate.metrics)
        shared = self.topics.setdefault(view.topics[aggregate.suite], {}).setdefault(suite, _Suite(pitfall, []))
        shared.metrics = merged([shared.metrics, metrics])
        for metric in metrics:
            cell = aggregate.metrics.get(metric)
            if cell is not None and cell.value is not None:
                line.values[suite, metric] = cell.value
        beside = controlled_of(aggregate.metrics, pitfall)
        line.controlled |= {(suite, metric): beside[metric] for metric in metrics if metric in beside}

    def by_model(self, suites: Mapping[str, _Suite]) -> dict[str, list[_Line]]:
        """Return the lines that have some of these suites, by model."""
        groups: dict[str, list[_Line]] = {}
        for line in self.lines.values():
            if any(suite in line.counts for suite in suites):
                groups.setdefault(line.model, []).append(line)
        return groups


def escaped(text: object) -> str:
    """Return data as LaTeX text that shows it as it is."""
    spelled = "".join(_SPELLED.get(char, char) for char in visible(text))
    return spelled.replace("--", "-{}-").replace("--", "-{}-")  # no dash


def latex_tables(runs: Sequence[NamedRun]) -> str:
    """Return one table for each topic that has figures, or for its kinds that have columns in common.

    Means in per cent, grouped by model; the best of a model's editors is bold, by what is printed: several where they
    are equal, none where all are. Editors that hardly edit are marked and never the best. Beside scores that have a
    control stands a line without any edit, and below each editor its lift over that. A table of many columns takes
    both columns of a page, and none is wider than its place. Suites in the published format have the released
    definitions as further columns, to be read beside the published figures. Properties of editors
    (``--pitfalls-suite=properties``) have a table for each model, with a column for each editor.

    Args:
        runs: an editor that several runs have on the same suite and model gets a line for each.

    Raises:
        UsageError: no run has scored cases or properties.
    """
    tables = _Tables(runs)
    labels: set[str] = set()
    properties = list(_property_tables(runs, labels))
    if not (tables.topics or properties):
        raise UsageError(without_figures(runs), where=WHERE, fix="name a run with scored cases")
    order = [topic for topic in known_topics() if topic in tables.topics]
    order += [topic for topic in tables.topics if topic not in order]
    parts = []
    for topic in order:
        suites = dict(sorted(tables.topics[topic].items(), key=lambda item: _place(item[1].pitfall)))
        for title, part in _parts(topic, suites):
            narrow = _narrow(part)
            for suites in narrow:
                named = title if len(narrow) == 1 else f"{topic.title}: {', '.join(suites)}"
                parts.append(_table(named, label(named, labels), suites, tables.by_model(suites)))
    head = "% needs \\usepackage{booktabs}, \\usepackage{graphicx}, \\usepackage[T1]{fontenc}, \\usepackage{textcomp}\n"
    return head + "\n".join([*parts, *properties])


def _parts(topic: Topic, suites: Mapping[str, _Suite]) -> Iterator[tuple[str, Mapping[str, _Suite]]]:
    """The suites of a topic by kinds that have columns in common, each part with its title."""
    present = [suite.pitfall for suite in suites.values()]
    groups = by_columns(kind for kind in PITFALLS if kind in present)
    if len(groups) < 2:
        yield topic.title, suites
        return
    for group in groups:
        yield titled(topic, group), {name: suite for name, suite in suites.items() if suite.pitfall in group}


def _narrow(suites: Mapping[str, _Suite]) -> list[dict[str, _Suite]]:
    """The suites of a table in groups that a page is wide enough for."""
    groups: list[dict[str, _Suite]] = []
    for name, suite in suites.items():
        if groups and sum(len(each.metrics) for each in groups[-1].values()) + len(suite.metrics) <= _WIDEST:
            groups[-1][name] = suite
        else:
            groups.append({name: suite})
    return groups


def _place(pitfall: AnyPitfall | None) -> int:
    """A suite's place in its table: those of the paper in the paper's order, then others as they come."""
    return 1_000 if pitfall is None or pitfall.published is None else pitfall.published.place


def _columns(pitfall: AnyPitfall | None, file_format: str) -> list[str]:
    """Return a kind's columns: those of the published table, otherwise those of every summary."""
    if pitfall is None:
        return []
    if pitfall.published is None:
        return without_released(pitfall.columns, [pitfall])
    names = []
    for name in pitfall.published.metrics:
        metric = metric_named(name, pitfall)
        plain = None if metric is None else metric.released_form_of
        names += [name] if plain is None else [plain, name]
    return names if file_format == "published" else without_released(names, [pitfall])


def _table(title: str, name: str, suites: Mapping[str, _Suite], groups: Mapping[str, Sequence[_Line]]) -> str:
    columns: list[Column] = [(name, metric) for name, suite in suites.items() for metric in suite.metrics]
    lines = [line for group in groups.values() for line in group]
    caption = rf"{escaped(title)} (\%). {_caption(lines, suites)}"
    return _framed(caption, name, "l" + "r" * len(columns), _headings(suites), _body(groups, columns))


def _property_tables(runs: Sequence[NamedRun], labels: set[str]) -> Iterator[str]:
    """Give a table for each model: a line for each property, a column for each editor."""
    models: dict[str, dict[str, dict[str, PropertyRow]]] = {}
    for run in runs:
        for table in RunView(run.results).properties:
            editors = models.setdefault(table.model, {})
            name = f"{table.editor} ({run.name})" if table.editor in editors else table.editor
            editors[name] = {row.name: row for row in table.rows}
    for model, editors in models.items():
        known = [row for rows in editors.values() for row in rows.values()]
        says = {row.name: row.says for row in known}
        counts = sorted({row.examples for row in known})
        numbers = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        caption = f"Properties of editors on {escaped(model)}. Sequences of edits looked at for each: {numbers}."
        if any(_is_unseen(row) for row in known):
            caption += f" {_MARK} {UNSEEN}."
        lines = (
            _row([escaped(name), escaped(sentence), *(_found(rows.get(name)) for rows in editors.values())])
            for name, sentence in says.items()
        )
        heading = _row(["Property", "Says", *map(escaped, editors)])
        name = label(f"Properties of editors on {model}", labels)
        yield _framed(caption, name, "l" * (len(editors) + 2), [heading], lines, is_wide=True)


def _is_unseen(row: PropertyRow) -> bool:
    return row.outcome == "passed" and bool(row.declared)


def _found(row: PropertyRow | None) -> str:
    return "--" if row is None else OUTCOMES[row.outcome] + (_MARK if _is_unseen(row) else "")


def _framed(
    caption: str, name: str, columns: str, headings: Sequence[str], body: Iterable[str], *, is_wide: bool = False
) -> str:
    table = "table*" if is_wide or len(columns) > _NARROW + 1 else "table"
    text = [
        rf"\begin{{{table}}}",
        r"\centering\small",
        r"\setlength{\tabcolsep}{3pt}\setlength{\belowcaptionskip}{4pt}",  # the caption stands above
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{name}}}",
        rf"{_NO_WIDER}{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *headings,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\end{{{table}}}",
    ]
    return "\n".join(text) + "\n"


def label(title: str, taken: set[str]) -> str:
    """Return a title as it may stand in a label ("knowledge-conflict") that is not taken, and take it."""
    plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "pitfalls"
    found, number = plain, 1
    while found in taken:
        number += 1
        found = f"{plain}-{number}"
    taken.add(found)
    return found


def _caption(lines: Sequence[_Line], suites: Mapping[str, _Suite]) -> str:
    parts = []
    for suite in suites:
        counts = sorted({line.counts[suite] for line in lines if suite in line.counts})
        cases = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"{escaped(suite)} {cases}")
    text = f"Cases: {', '.join(parts)}. Arrows say which way is better."
    if not all(line.reliable for line in lines):
        text += f" {_MARK} hardly edits: its figures say little."
    beside = [each for line in lines for (suite, _), each in line.controlled.items() if suite in suites]
    if beside:
        text += " No edit: the same scores before any edit; lift: over that, case by case, in points, "
        text += r"with its 95 \% interval."
    if any(each.is_below for each in beside):
        text += f" {_BELOW} below doing nothing."
    return text


def _headings(suites: Mapping[str, _Suite]) -> list[str]:
    over, rules, names, start = [""], [], ["Editor"], 2
    for name, suite in suites.items():
        end = start + len(suite.metrics) - 1
        over.append(rf"\multicolumn{{{len(suite.metrics)}}}{{c}}{{{escaped(name.capitalize())}}}")
        rules.append(rf"\cmidrule(lr){{{start}-{end}}}")
        start = end + 1
        names += [_heading(metric, suite.pitfall) for metric in suite.metrics]
    return [_row(over), " ".join(rules), _row(names)]


def _heading(name: str, pitfall: AnyPitfall | None) -> str:
    """Return a metric's title and an arrow; of a title such as "CS exp" the second part is a subscript."""
    metric = metric_named(name, pitfall)
    if metric is None:
        return escaped(name)
    arrow = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}[metric.higher_is_better]
    index = re.fullmatch(r"([A-Z]+) ([a-z]+)", metric.title)
    title = rf"{escaped(index[1])}\textsubscript{{{index[2]}}}" if index else escaped(metric.title)
    return title + arrow


def _body(groups: Mapping[str, Sequence[_Line]], columns: Sequence[Column]) -> Iterator[str]:
    for place, (model, group) in enumerate(groups.items()):
        if place:
            yield r"\midrule"
        yield rf"\multicolumn{{{len(columns) + 1}}}{{l}}{{\textit{{{escaped(model)}}}}} \\"
        best = {column: _best(group, column) for column in columns}
        controls = [_controls(line, columns) for line in group]
        different = {cells for cells in controls if cells}
        if len(different) == 1:  # as a rule: nobody has edited yet
            yield _row(["no edit", *next(iter(different))])
        for line, control in zip(group, controls, strict=True):
            cells = [escaped(line.name) + ("" if line.reliable else _MARK)]
            for column in columns:
                text = _figure(line.values.get(column), column[1])
                cells.append(rf"\textbf{{{text}}}" if line.reliable and text == best[column] else text)
            yield _row(cells)
            if control:
                if len(different) > 1:
                    yield _row([r"\quad no edit", *control])
                lifts = [_lift(line.controlled.get(column)) for column in columns]
                yield _row([r"\quad lift", *(points for points, _ in lifts)])
                yield _row(["", *(interval for _, interval in lifts)])


def _controls(line: _Line, columns: Sequence[Column]) -> tuple[str, ...]:
    """Return the cells of the same scores without any edit; nothing where no score has a control."""
    known = [line.controlled.get(column) for column in columns]
    return tuple("" if each is None else _figure(each.control.value) for each in known) if any(known) else ()


def _lift(each: Controlled | None) -> tuple[str, str]:
    """A lift and its interval, which go below one another: side by side they would be wider than the scores."""
    if each is None:
        return "", ""
    points, _, interval = lift(each.lift).partition(" ")
    return (
        rf"{{\scriptsize {_minus(points)}{_BELOW if each.is_below else ''}}}",
        rf"{{\scriptsize {_minus(interval)}}}" if interval else "",
    )


def _best(group: Sequence[_Line], column: Column) -> str | None:
    """Return the best figure as it is printed; None where there is nothing to choose from, or all print the same."""
    metric = metric_named(column[1])
    values = [line.values[column] for line in group if line.reliable and column in line.values]
    if metric is None or metric.higher_is_better is None or len(values) < 2:
        return None
    printed = {_figure(value, column[1]) for value in values}
    return _figure(max(values) if metric.higher_is_better else min(values), column[1]) if len(printed) > 1 else None


def _figure(value: float | None, name: str = "") -> str:
    return "--" if value is None else _minus(figure(name, value, 2))


def _minus(number: str) -> str:
    """Return numbers with a minus sign in the place of a hyphen."""
    return number.replace("-", "$-$")


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
