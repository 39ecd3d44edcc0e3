"""Which kinds of pitfall there are: the modules of this folder, and those that others bring.

Others bring a kind by an entry point `pytest_editpitfalls.pitfalls`, by the hook `pytest_pitfalls_kinds`, or by naming
it as ``package.module:attribute`` in the header of a suite. An entry point is loaded when its kind is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.metrics.metric import Metric, fact_probabilities
from pytest_editpitfalls.program import ProbeScore, Program

from ._pitfall import Pitfall, Topic

ENTRY_POINTS = "pytest_editpitfalls.pitfalls"

AnyPitfall = Pitfall[Any]


class _Kinds:
    """The kinds by name."""

    def __init__(self) -> None:
        self._added: dict[str, AnyPitfall] = {}

    @cached_property
    def shipped(self) -> dict[str, AnyPitfall]:
        """The kinds of this folder, in their order."""
        found = []
        for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
            if not module.name.startswith("_"):
                loaded = importlib.import_module(f".{module.name}", __package__)
                found += [
                    value()
                    for value in vars(loaded).values()
                    if isinstance(value, type) and issubclass(value, Pitfall) and value.__module__ == loaded.__name__
                ]
        return {pitfall.name: pitfall for pitfall in sorted(found, key=lambda each: each.order)}

    def __iter__(self) -> Iterator[AnyPitfall]:
        """The kinds that are loaded, those that ship first."""
        return iter(sorted([*self.shipped.values(), *self._added.values()], key=lambda each: each.order))

    def get(self, kind: str, *, where: str | None = None) -> AnyPitfall:
        """Return the kind of this name, or the one that ``package.module:attribute`` names.

        Raises:
            UsageError: there is no such kind, or what is there is none.
        """
        if (known := self.find(kind)) is not None:
            return known
        if ":" in kind:
            return self.add(_imported(kind, where), origin=f"kind = '{kind}'", where=where)
        names = [each.name for each in self] + [each.name for each in _entry_points()]
        raise UsageError(f"unknown kind of pitfall '{kind}'", where=where, fix=did_you_mean(kind, names))

    def find(self, kind: str) -> AnyPitfall | None:
        """Return the kind of this name, loading its entry point where it has one; None where there is none."""
        if (known := self.shipped.get(kind) or self._added.get(kind)) is not None:
            return known
        for entry in _entry_points():
            if entry.name == kind:
                origin = f"the entry point '{kind}' of {entry.dist.name if entry.dist else 'a package'}"
                try:
                    value = entry.load()
                except Exception as error:
                    raise UsageError(
                        f"the kind of pitfall '{kind}' cannot be imported: {error}",
                        where=origin,
                        fix="correct or uninstall the package",
                    ) from error
                return self.add(value, origin=origin)
        return None

    def add(self, value: object, *, origin: str, where: str | None = None) -> AnyPitfall:
        """Make a kind known that somebody brings; the same one may come twice.

        Raises:
            UsageError: it is no `Pitfall`, its name is taken, or a metric of it has another meaning elsewhere.
        """
        where = where or origin
        try:
            pitfall = value() if isinstance(value, type) and issubclass(value, Pitfall) else value
        except TypeError as error:  # an abstract method, or arguments
            raise UsageError(f"it cannot be made: {error}", where=where, fix="write its methods") from None
        if not isinstance(pitfall, Pitfall):
            raise UsageError(
                f"{origin} is no pitfall but a {type(value).__name__}",
                where=where,
                fix="give a subclass of pytest_editpitfalls.pitfalls.Pitfall",
            )
        known = self.shipped.get(pitfall.name) or self._added.get(pitfall.name)
        if known is not None and type(known) is not type(pitfall):
            raise UsageError(
                f"there are two kinds of pitfall called '{pitfall.name}'",
                where=where,
                fix="rename one of them",
            )
        for metric in pitfall.metrics:
            if metric.name in METRICS and not _agree(metric, METRICS.get(metric.name)):
                raise UsageError(
                    f"the metric '{metric.name}' of '{pitfall.name}' has another title or direction elsewhere",
                    where=where,
                    fix="give it a name of its own",
                )
        names = {metric.name for metric in pitfall.metrics}
        for metric in pitfall.metrics:
            for other in {metric.control, metric.lift} - {None, *names}:
                raise UsageError(
                    f"the metric '{metric.name}' of '{pitfall.name}' names '{other}', which is no metric of it",
                    where=where,
                    fix="add it: metrics.controls.score_with_controls makes a score with its controls and its lift",
                )
        if "es" not in names:
            raise UsageError(
                f"the kind of pitfall '{pitfall.name}' does not tell whether edit 1 takes",
                where=where,
                fix="put metrics.shared.edit_success(written, replaced) first among its metrics",
            )
        self._added[pitfall.name] = pitfall if known is None else known
        return self._added[pitfall.name]

    def forget_added(self) -> None:
        """Know only what ships, as at the start of a run."""
        self._added.clear()


class _Metrics:
    """The metrics of all kinds by name, in the order of tables."""

    def __iter__(self) -> Iterator[str]:
        return iter(merged([[metric.name for metric in kind.metrics] for kind in PITFALLS]))

    def __contains__(self, name: object) -> bool:
        return any(metric.name == name for kind in PITFALLS for metric in kind.metrics)

    def get(self, name: str) -> Metric:
        """Return a metric of this name; raises `UsageError` where there is none."""
        for kind in PITFALLS:
            for metric in kind.metrics:
                if metric.name == name:
                    return metric
        raise UsageError(f"unknown metric '{name}'", fix=did_you_mean(name, self))


PITFALLS = _Kinds()
"""Every kind of pitfall."""

METRICS = _Metrics()
"""Every metric by name."""


def pitfall_of(kind: str) -> AnyPitfall:
    """Return a kind by its name; raises `UsageError` where there is none."""
    return PITFALLS.get(kind)


def metrics_for(kind: str) -> tuple[Metric, ...]:
    """Return the metrics of a kind, in the order of tables."""
    return pitfall_of(kind).metrics


def metric_of(kind: str, name: str) -> Metric | None:
    """Return a kind's metric by name; None where it has none of that name."""
    return next((metric for metric in metrics_for(kind) if metric.name == name), None)


def controls_of(kind: str) -> set[str]:
    """Return the metrics of a kind that are another one's control: what an editor cannot change."""
    return {metric.control for metric in metrics_for(kind) if metric.control is not None}


def compute_metrics(kind: str, scores: Iterable[ProbeScore]) -> dict[str, float | None]:
    """Return every metric of ``kind`` that applies to the case, in the order of tables.

    None where a metric is unknown, never NaN.
    """
    answered = tuple(scores)
    asked = {part for score in answered for part in (score.fact, score.state)}
    probabilities = fact_probabilities(answered)
    return {
        metric.name: _finite(metric.compute(probabilities)) for metric in metrics_for(kind) if metric.applies(asked)
    }


def unequal_tokens(kind: str, scores: Iterable[ProbeScore]) -> list[str]:
    """Return the metrics of ``kind`` that compare two objects of unequal numbers of tokens, where these are known."""
    tokens = {score.fact: score.tokens for score in scores if score.tokens is not None}
    found = []
    for metric in metrics_for(kind):
        counts = {tokens[fact] for fact in metric.compares or () if fact in tokens}
        if len(counts) > 1:
            found.append(metric.name)
    return found


def compile_case(case: Case, multi_label: bool = False) -> Program:
    """Return the program that the engine runs for ``case``; the latest ones are remembered.

    Args:
        case: the case.
        multi_label: Multi-Label Edit: the second step of a round edit writes all true objects together. It changes
            no other kind that ships.
    """
    return _compiled(case, multi_label)


@lru_cache(maxsize=1024)
def _compiled(case: Case, multi_label: bool) -> Program:
    """Called in one way only: ``f(x, True)`` and ``f(x, multi_label=True)`` are two calls to `lru_cache`."""
    return pitfall_of(case.kind).compile(case, multi_label)


def topics() -> list[Topic]:
    """Return what the kinds are about, in their order."""
    return list(dict.fromkeys(kind.topic for kind in PITFALLS))


def merged(lists: Iterable[Sequence[str]]) -> list[str]:
    """Return the words of several lists, each once: a new one before the next of its own list that is known."""
    words: list[str] = []
    for each in lists:
        for place, word in enumerate(each):
            if word not in words:
                known = [words.index(later) for later in each[place + 1 :] if later in words]
                words.insert(min(known, default=len(words)), word)
    return words


def _imported(path: str, where: str | None) -> object:
    module, _, attribute = path.partition(":")
    try:
        value: object = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except Exception as error:
        raise UsageError(
            f"the kind of pitfall '{path}' cannot be imported: {error or type(error).__name__}",
            where=where,
            fix="check the name; a module is found from the directory that pytest runs in, or where it is installed",
        ) from error
    return value


def _entry_points() -> Iterable[Any]:
    from importlib.metadata import entry_points

    return entry_points(group=ENTRY_POINTS)


def _agree(one: Metric, other: Metric) -> bool:
    return (one.title, one.higher_is_better, one.low, one.high) == (
        other.title,
        other.higher_is_better,
        other.low,
        other.high,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and value - value == 0 else None
