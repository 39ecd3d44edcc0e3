"""The tables of a run, with the columns that its kinds name: one for each topic, or for kinds that share columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from pytest_editpitfalls.cases.case import Strength
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.options.editor_labels import seeds_in_words
from pytest_editpitfalls.pitfalls import PITFALLS, PublishedRow, Topic, merged
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.results.records import AggregateRecord, CaseRecord, MetricAggregate
from pytest_editpitfalls.verdicts.reliability import doubtful_reason, unreliable_reason

from .kinds import by_columns, figure, figure_interval, titled, without_released
from .verdicts import SEEN
from .words import MARK, TOO_FEW, percent

Group = tuple[str, str, str]
"""(suite, editor, model)."""


STRENGTHS: Mapping[Strength, str] = MappingProxyType({"strict": "strict", "default": "default"})
"""What the cases of a suite that has both are called."""


@dataclass(frozen=True, slots=True)
class Controlled:
    """What stands beside a score: the same score without any edit, and the lift over it, case by case.

    Attributes:
        title: of the score's column.
        higher_is_better: of the score; None where it has no direction.
    """

    title: str
    control: MetricAggregate
    lift: MetricAggregate
    higher_is_better: bool | None

    @property
    def is_below(self) -> bool:
        """Whether the mean is seen to be worse than that of no edit."""
        return self.lift.value is not None and self._for_the_better(self.lift.value) <= -SEEN

    @property
    def is_worse(self) -> bool:
        """Whether even the better end of the lift's interval is: worse than doing nothing."""
        end = self.lift.high if self.higher_is_better else self.lift.low
        return self.is_below and end is not None and self._for_the_better(end) < 0

    def _for_the_better(self, change: float) -> float:
        return 0.0 if self.higher_is_better is None else change if self.higher_is_better else -change


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table: a suite with an editor on a model, or published figures beside it.

    Attributes:
        n: cases that were scored.
        held: "38/40" where the base model was asked for its facts, otherwise "".
        cells: metric -> aggregate; a metric that is absent does not exist for the suite.
        published: whether these are published figures (no intervals).
        reliable: whether the editor edits often enough; None where that is unknown.
        unrepeatable: why none of the figures counts; None where they do.
        controlled: metric -> what stands beside it, for those that have a control.
        seeds: the seeds whose means these are, where there are several.
        is_identical: whether they all gave the same.
        part: which of the suite's cases these are, in words; "" for all of them.
    """

    suite: str
    editor: str
    model: str
    n: int
    held: str
    cells: Mapping[str, MetricAggregate]
    published: bool = False
    reliable: bool | None = None
    unrepeatable: str | None = None
    controlled: Mapping[str, Controlled] = field(default_factory=dict)
    seeds: Sequence[int] = ()
    is_identical: bool = False
    part: str = ""

    @property
    def group(self) -> Group:
        """(suite, editor, model)."""
        return self.suite, self.editor, self.model

    def interval(self, name: str, digits: int = 1) -> str:
        """Return the interval of a metric's mean as `figure` writes it, or that there are too few cases for one.

        "" where there is no mean, and for published figures, which have none.
        """
        cell = self.cells[name]
        if self.published or cell.value is None:
            return ""
        return figure_interval(name, cell, digits) or TOO_FEW


@dataclass(frozen=True, slots=True)
class Table:
    """The suites of one topic, or those of its kinds that have columns in common.

    Attributes:
        title: the topic's, with the kinds where the topic has several tables.
        rows: lines in the order of the run, published figures behind the lines that they belong to.
        columns: metric -> title, those that some line fills.
        unreliable: one line per editor and model whose mean edit success is under the floor.
        below: one line per editor and model with scores that are worse than without any edit.
        citation: where its published figures are from, in few words; "" where it has none.
        spreads: one line per row that has several seeds: how far their means lie apart.
    """

    topic: Topic
    title: str
    rows: Sequence[Row]
    columns: Mapping[str, str]
    unreliable: Sequence[str]
    below: Sequence[str] = ()
    citation: str = ""
    spreads: Sequence[str] = ()


def row_of(aggregate: AggregateRecord, cases: Iterable[CaseRecord], pitfall: AnyPitfall | None = None) -> Row:
    """Return the line of an aggregate; ``cases`` are its cases, of the kind ``pitfall`` where it is installed."""
    # once for all seeds: it is the base model that is asked
    asked = {case.id: case.held for case in cases if case.held is not None}
    return Row(
        aggregate.suite,
        aggregate.editor,
        aggregate.model,
        aggregate.n,
        f"{sum(asked.values())}/{len(asked)}" if asked else "",
        aggregate.metrics,
        reliable=aggregate.reliable,
        unrepeatable=None if aggregate.repeatable else aggregate.reliable_reason,
        controlled=controlled_of(aggregate.metrics, pitfall),
        seeds=aggregate.seeds,
        is_identical=bool(aggregate.identical),
        part=STRENGTHS[aggregate.strength] if aggregate.strength else "",
    )


def controlled_of(cells: Mapping[str, MetricAggregate], pitfall: AnyPitfall | None) -> dict[str, Controlled]:
    """Return what stands beside each score that has a control: metric -> control and lift."""
    found = {}
    for metric in () if pitfall is None else pitfall.metrics:
        control, lift_cell = cells.get(metric.control or ""), cells.get(metric.lift or "")
        if metric.name in cells and control is not None and lift_cell is not None and lift_cell.n:
            found[metric.name] = Controlled(metric.title, control, lift_cell, metric.higher_is_better)
    return found


def published_row(suite: str, figures: PublishedRow) -> Row:
    """Return the line of published figures, to stand below a line of ``suite``."""
    n, values = figures.n, figures.metrics.items()
    cells = {name: MetricAggregate(value=value, low=None, high=None, n=n) for name, value in values}
    return Row(suite, figures.editor, figures.model, n, "", cells, published=True)


def tables_of(
    rows: Iterable[Row], topics: Mapping[str, Topic], pitfalls: Mapping[str, AnyPitfall | None], floor: float
) -> list[Table]:
    """Return the rows by topic, in the order of the kinds; those of a kind that is not installed come last.

    Args:
        topics: suite -> topic.
        pitfalls: suite -> kind; None where it is not installed: then all metrics are columns.
        floor: edit success under which a row is unreliable, judged by its interval.
    """
    order = [pitfall.topic for pitfall in PITFALLS]
    found: dict[Topic, list[Row]] = {}
    for row in rows:
        found.setdefault(topics[row.suite], []).append(row)
    present = sorted(found, key=lambda topic: order.index(topic) if topic in order else len(order))
    return [
        _table(topic, title, rows, pitfalls, floor)
        for topic in present
        for title, rows in _parts(topic, found[topic], pitfalls)
    ]


def _parts(
    topic: Topic, rows: Sequence[Row], pitfalls: Mapping[str, AnyPitfall | None]
) -> Iterator[tuple[str, Sequence[Row]]]:
    """The rows of a topic by kinds that have columns in common, each part with its title."""
    present = {row.suite: pitfalls[row.suite] for row in rows}
    groups = by_columns(kind for kind in PITFALLS if kind in present.values())
    if len(groups) < 2:
        yield topic.title, rows
        return
    for group in groups:
        yield titled(topic, group), [row for row in rows if present[row.suite] in group]


def _table(
    topic: Topic, title: str, rows: Sequence[Row], pitfalls: Mapping[str, AnyPitfall | None], floor: float
) -> Table:
    present = {row.suite: pitfalls[row.suite] for row in rows}
    kinds = [pitfall for pitfall in PITFALLS if pitfall in present.values()]
    names = merged([kind.columns for kind in kinds]) or merged([list(row.cells) for row in rows])
    published = [row for row in rows if row.published]
    if not published:
        names = without_released(names, kinds)
    titles = {metric.name: metric.title for kind in kinds for metric in kind.metrics}
    cited = {
        kind.published.cited_as
        for row in published
        if (kind := present[row.suite]) is not None and kind.published is not None
    }
    columns = {name: titles.get(name, visible(name)) for name in names if any(name in row.cells for row in rows)}
    whole = [row for row in rows if not row.part]  # what is said of a suite is said once
    return Table(
        topic,
        title,
        rows,
        columns,
        _unreliable(whole, topic, floor),
        _below(whole, columns),
        "; ".join(sorted(cited)),
        [line for row in whole if (line := _spread(row, columns))],
    )


def _below(rows: Sequence[Row], columns: Iterable[str]) -> list[str]:
    """Return a line for each editor and model with scores worse than without any edit; what is sure comes first."""
    found: dict[tuple[bool, str, str], list[str]] = {}
    for row in rows:
        for name in columns:
            if (each := row.controlled.get(name)) is not None and each.is_below:
                figures = f"{percent(row.cells[name].value)} (no edit {percent(each.control.value)})"
                found.setdefault((not each.is_worse, row.editor, row.model), []).append(
                    f"{each.title} of {row.suite} {figures}"
                )
    words = {False: "worse than doing nothing", True: "below doing nothing, but not for certain"}
    return [
        visible(f"{MARK} {editor} on {model}: {words[unsure]}: {', '.join(scores)}")
        for (unsure, editor, model), scores in sorted(found.items(), key=lambda item: item[0][0])
    ]


def _spread(row: Row, columns: Mapping[str, str]) -> str:
    """Say how far the seeds of a row lie apart."""
    if not row.seeds:
        return ""
    who = f"{row.suite}, {row.editor} on {row.model}: {len(row.seeds)} seeds ({seeds_in_words(row.seeds)})"
    if row.is_identical:
        return visible(f"{who} give the same: nothing that it draws reaches these figures")
    apart = [
        f"{title} {figure(name, cell.seed_sd)}"
        for name, title in columns.items()
        if (cell := row.cells.get(name)) is not None and cell.seed_sd is not None
    ]
    return visible(f"{who}, standard deviation of their means: {', '.join(apart) or 'unknown'}")


def _unreliable(rows: Sequence[Row], topic: Topic, floor: float) -> list[str]:
    shares: dict[bool | None, dict[tuple[str, str], dict[str, float]]] = {False: {}, None: {}}
    for row in rows:
        cell = row.cells.get("es") if row.reliable is not True and row.unrepeatable is None else None
        # where nobody can tell, a mean over the floor is no reason for a line
        if cell is not None and cell.value is not None and (row.reliable is False or cell.value < floor):
            shares[row.reliable].setdefault((row.editor, row.model), {})[row.suite] = cell.value
    unrepeatable = {(row.editor, row.model): row.unrepeatable for row in rows if row.unrepeatable}
    lines = [f"{editor} on {model}: {reason}" for (editor, model), reason in unrepeatable.items()]
    lines += [
        (doubtful_reason if reliable is None else unreliable_reason)(editor, model, suites, floor, figures=topic.name)
        for reliable, found in shares.items()
        for (editor, model), suites in found.items()
    ]
    return [visible(f"{MARK} {line}") for line in lines]
