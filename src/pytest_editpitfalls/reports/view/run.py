"""The view of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.options.defaults import SUCCESS_FLOOR
from pytest_editpitfalls.pitfalls import METRICS, PublishedRow, Topic, merged
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.results.comparison_records import CaseKeyRecord
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import AggregateRecord, CaseRecord, RunResults

from .cases import Story, headline, in_words, missed_by
from .kinds import pitfall_of_record, without_released
from .outcome import MISSED, Outcome, outcomes_of
from .properties import PropertyTable, property_tables
from .rules import rules_in_words
from .tables import Group, Row, Table, published_row, row_of, tables_of
from .weights import WeightTable, weight_tables
from .words import count, first_result_line, time_line


class RunView:
    """What reports say of a run, live or stored; each part is made when it is asked for.

    Args:
        summed: whether the run's times are summed over several processes.

    Attributes:
        kinds: suite -> name of its kind of pitfall.
        pitfalls: suite -> its kind of pitfall; None where that is not installed.
        topics: suite -> which table it stands in; a kind that is not installed has one of its own.
    """

    def __init__(self, results: RunResults, *, summed: bool = False) -> None:
        self.results = results
        self._summed = summed
        kinds = self.kinds = {suite.name: suite.kind for suite in results.run.suites}
        known = {kind: pitfall_of_record(kind) for kind in kinds.values()}
        kinds |= {each.suite: each.suite for each in results.aggregates if each.suite not in kinds}
        self.pitfalls: dict[str, AnyPitfall | None] = {suite: known.get(kind) for suite, kind in kinds.items()}
        self.topics = {
            suite: Topic(kind, visible(kind)) if (pitfall := known.get(kind)) is None else pitfall.topic
            for suite, kind in kinds.items()
        }

    @cached_property
    def cases(self) -> dict[Group, list[CaseRecord]]:
        """The cases of each aggregate: of an editor that ran under several seeds, those of all seeds."""
        groups: dict[Group, list[CaseRecord]] = {}
        for case in self.results.cases:
            groups.setdefault(self.results.figures_of(case), []).append(case)
        return groups

    def cases_of(self, aggregate: AggregateRecord) -> list[CaseRecord]:
        """Return the cases of an aggregate, which may be of one strength."""
        members = self.cases.get((aggregate.suite, aggregate.editor, aggregate.model), [])
        return [case for case in members if aggregate.strength in (None, case.strength)]

    @cached_property
    def tables(self) -> list[Table]:
        """The tables, one for each topic."""
        rows: list[Row] = []
        for aggregate in self.results.aggregates:
            group = aggregate.suite, aggregate.editor, aggregate.model
            rows.append(row_of(aggregate, self.cases.get(group, ()), self.pitfalls[aggregate.suite]))
            rows += [
                row_of(part, self.cases_of(part), self.pitfalls[part.suite])
                for part in self.results.by_strength
                if (part.suite, part.editor, part.model) == group
            ]
            if (figures := self.published(aggregate)) is not None:
                rows.append(published_row(aggregate.suite, figures))
        floor = self.results.run.success_floor
        return tables_of(rows, self.topics, self.pitfalls, SUCCESS_FLOOR if floor is None else floor)

    @cached_property
    def rules(self) -> dict[str, str]:
        """The rules of all cases in words."""
        return rules_in_words(self.results.cases)

    @cached_property
    def outcomes(self) -> list[Outcome]:
        """What the run comes to, a line for each editor and model."""
        return outcomes_of(self)

    @cached_property
    def weights(self) -> list[WeightTable]:
        """The weights that differ, of each edited checkpoint of an audit."""
        return weight_tables(self.results)

    @cached_property
    def properties(self) -> list[PropertyTable]:
        """What was found of the editors' properties, one table for each editor and model."""
        return property_tables(self.results.properties)

    @property
    def unreliable(self) -> list[str]:
        """One line per topic, editor and model whose figures say little."""
        return [line for table in self.tables for line in table.unreliable]

    @property
    def below(self) -> list[str]:
        """One line per topic, editor and model with scores that are worse than without any edit."""
        return [line for table in self.tables for line in table.below]

    def format_of(self, suite: str) -> str:
        """Return the format that a suite was read from; "" where the record does not say."""
        return next((each.format for each in self.results.run.suites if each.name == suite), "")

    def published(self, aggregate: AggregateRecord) -> PublishedRow | None:
        """Return the published figures for the same editor, model (by label or source) and suite.

        None where one of them is another, and for suites that are not in the published format.
        """
        pitfall = self.pitfalls[aggregate.suite]
        if pitfall is None or self.format_of(aggregate.suite) != "published":
            return None
        sources = {model.name: model.source for model in self.results.run.models}
        names = (aggregate.model, sources.get(aggregate.model))
        return pitfall.published_row(aggregate.suite, aggregate.editor, names)

    def columns_of(self, suite: str) -> dict[str, str]:
        """Return metric -> title of a suite's columns where no published figures stand beside them."""
        pitfall = self.pitfalls[suite]
        if pitfall is None:
            return {name: visible(name) for name in self.metrics_of(suite)}
        titles = {metric.name: metric.title for metric in pitfall.metrics}
        return {name: titles.get(name, name) for name in without_released(pitfall.columns, [pitfall])}

    def metrics_of(self, suite: str) -> list[str]:
        """Return all metrics that the suite's record has; released forms only where published figures are."""
        aggregates = [each for each in self.results.aggregates if each.suite == suite]
        names = list(dict.fromkeys(name for each in aggregates for name in each.metrics))
        if any(self.published(each) is not None for each in aggregates):
            return names
        return without_released(names, [self.pitfalls[suite]])

    @property
    def metrics(self) -> list[str]:
        """Return all metrics of all suites, as `metrics_of`."""
        return merged([self.metrics_of(suite) for suite in self.pitfalls])

    @property
    def metrics_of_cases(self) -> list[str]:
        """Return all metrics that some case has, in the order of tables."""
        found = {name for case in self.results.cases for name in case.metrics}
        known = [name for name in METRICS if name in found]
        return known + sorted(found - {*known})

    def story(self, case: CaseRecord, *, is_failing: bool = True) -> Story:
        """Return a case as a headline and lines below it."""
        return headline(case, is_failing=is_failing), in_words(case, self.pitfalls.get(case.suite))

    def worst(self, limit: int, *, told: Sequence[CaseKeyRecord] = ()) -> list[Story]:
        """Return the cases that missed their thresholds by most, without those that are told elsewhere."""
        keys = {(each.suite, each.editor, each.model, each.id) for each in told}
        missed = [case for case in self.results.cases if case.outcome in MISSED and case.key not in keys]
        missed.sort(key=missed_by, reverse=True)
        return [self.story(case) for case in missed[:limit]]

    def flipped(self, keys: Sequence[CaseKeyRecord], limit: int, *, is_failing: bool) -> tuple[list[Story], int]:
        """Return the stories of the first cases, and how many there are more."""
        by_key = {case.key: case for case in self.results.cases}
        known = [by_key[key] for each in keys if (key := (each.suite, each.editor, each.model, each.id)) in by_key]
        return [self.story(case, is_failing=is_failing) for case in known[:limit]], max(0, len(known) - limit)

    @property
    def nothing(self) -> str:
        """Why the run has no figures; "" where it has some, or only looked at properties."""
        cases = self.results.cases
        if any(case.is_scored for case in cases) or (self.results.properties and not cases):
            return ""
        counts = Counter(case.outcome for case in cases)
        why = ", ".join(
            count(number, "error") if outcome == "error" else f"{number} {outcome}"
            for outcome, number in counts.items()
        )
        return f"no case was scored ({why}): there are no figures" if cases else "no case ran: there are no figures"

    @property
    def not_scored(self) -> list[str]:
        """One line per reason why cases do not count."""
        counts: Counter[str] = Counter(case.outcome for case in self.results.cases if not case.is_scored)
        words = {
            "error": ("is an error: it does", "are errors: they do"),
            "skipped": ("was skipped: it does", "were skipped: they do"),
        }
        return [
            f"{count(counts[outcome], 'case')} {one if counts[outcome] == 1 else several} not count in the tables"
            for outcome, (one, several) in words.items()
            if counts[outcome]
        ]

    @property
    def times(self) -> list[str]:
        """Where the time went, and when the first result came; what is not known is left out."""
        run = self.results.run
        time = time_line(run.timings, run.seconds, self._summed)
        lines = [f"time {time}" if time else "", first_result_line(run.first_result)]
        return [line for line in lines if line]

    @property
    def cached(self) -> int:
        """Cases that came from a store."""
        return sum(case.cached for case in self.results.cases)


def without_figures(runs: Iterable[NamedRun]) -> str:
    """Return why none of the runs has figures, for a message."""
    found = {run.name: RunView(run.results).nothing for run in runs}
    return visible("; ".join(f"{name}: {text}" for name, text in found.items() if text)) or "no run has figures"
