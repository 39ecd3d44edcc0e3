"""Thresholds on a case and gates on a suite: parsed once, then held against metric values."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.pitfalls import METRICS, metric_of, metrics_for

OPERATORS: MappingProxyType[str, Callable[[float, float], bool]] = MappingProxyType(
    {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
)
_FORM = re.compile(r"(?P<name>[^\s<>=!]+)\s*(?P<operator>[<>=!]+)\s*(?P<bound>\S+)")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A bound that a metric has to keep: ``metric operator bound``."""

    metric: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.bound:g}"

    def keeps(self, value: float) -> bool:
        """Return whether ``value`` keeps the bound."""
        return OPERATORS[self.operator](value, self.bound)


@dataclass(frozen=True, slots=True)
class Gate:
    """A threshold on a suite's aggregate ("reverse.cs_exp >= 0.6"); ini thresholds have the same form."""

    suite: str
    threshold: Threshold

    def __str__(self) -> str:
        return f"{self.suite}.{self.threshold}"


@dataclass(frozen=True, slots=True)
class ThresholdResult:
    """A threshold held against a value.

    Attributes:
        threshold: the threshold.
        value: the metric's value, or None when it is unknown.
        passed: None when the threshold was not evaluated because the value is unknown.
        missed_by: how far the value lies on the wrong side of the bound; None unless it failed.
    """

    threshold: Threshold
    value: float | None
    passed: bool | None
    missed_by: float | None

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.threshold}: not evaluated, {self.threshold.metric} is unknown"
        if self.passed:
            return f"{self.threshold}: passed, {self.threshold.metric} = {self.value:.4g}"
        missed = 0.0 if self.missed_by is None else self.missed_by
        return f"{self.threshold}: failed, {self.threshold.metric} = {self.value:.4g}, missed by {missed:.4g}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """All thresholds of a case.

    Attributes:
        results: one per threshold, in their order.
        passed: False when one failed; None when none failed but one was not evaluated; otherwise True.
    """

    results: tuple[ThresholdResult, ...]
    passed: bool | None

    @property
    def failed(self) -> tuple[ThresholdResult, ...]:
        """The thresholds that failed."""
        return tuple(result for result in self.results if result.passed is False)

    @property
    def not_evaluated(self) -> tuple[ThresholdResult, ...]:
        """The thresholds whose metric is unknown."""
        return tuple(result for result in self.results if result.passed is None)


def parse_threshold(text: str, *, kind: Kind | None = None, where: str | None = None) -> Threshold:
    """Parse "cs_exp >= 1".

    Args:
        text: a metric, one of ``>= <= > <`` and a number.
        kind: the kind of suite that it is for; the metric has to be defined for it.
        where: where the text was written (file and field, option or ini key), for the message.

    Raises:
        UsageError: another form, an unknown metric, a metric that the kind does not have, or a bound that no
            value of the metric can be compared with.
    """
    name, symbol, bound = _parts(text, where, "cs_exp >= 1")
    return _threshold(text, name, symbol, bound, kind, where)


def parse_thresholds(texts: Iterable[str], *, kind: Kind, where: str | None = None) -> tuple[Threshold, ...]:
    """Parse a suite's thresholds; raises `UsageError` as `parse_threshold`."""
    return tuple(parse_threshold(text, kind=kind, where=where) for text in texts)


def parse_gate(text: str, suites: Mapping[str, Kind], *, where: str | None = None) -> Gate:
    """Parse "reverse.cs_exp >= 0.6".

    Args:
        text: a suite, a dot, and a threshold.
        suites: the known suites with their kinds (the ones that ship and the ones of this run).
        where: where the text was written, for the message.

    Raises:
        UsageError: as `parse_threshold`, or an unknown suite.
    """
    name, symbol, bound = _parts(text, where, "reverse.cs_exp >= 0.6")
    suite, dot, metric = name.rpartition(".")
    if not dot or not suite:
        raise UsageError(f"'{text}' names no suite", where=where, fix=f"write SUITE.METRIC, such as 'reverse.{name}'")
    if suite not in suites:
        raise UsageError(f"unknown suite '{suite}' in '{text}'", where=where, fix=did_you_mean(suite, suites))
    return Gate(suite, _threshold(text, metric, symbol, bound, suites[suite], where))


def applying(metrics: Mapping[str, float | None], thresholds: Iterable[Threshold]) -> tuple[Threshold, ...]:
    """Return the thresholds whose metric the case has, known or not; all where it has no metrics at all."""
    return tuple(threshold for threshold in thresholds if threshold.metric in metrics or not metrics)


def judge(metrics: Mapping[str, float | None], thresholds: Iterable[Threshold]) -> Verdict:
    """Hold a case's metrics against its thresholds; an unknown metric is "not evaluated", never a pass."""
    results = tuple(hold(threshold, metrics.get(threshold.metric)) for threshold in thresholds)
    outcomes = {result.passed for result in results}
    passed = False if False in outcomes else None if None in outcomes else True
    return Verdict(results, passed)


def hold(threshold: Threshold, value: float | None) -> ThresholdResult:
    """Hold one value against one threshold."""
    if value is None or not math.isfinite(value):
        return ThresholdResult(threshold, None, None, None)
    if threshold.keeps(value):
        return ThresholdResult(threshold, value, True, None)
    return ThresholdResult(threshold, value, False, abs(value - threshold.bound))


def _parts(text: str, where: str | None, example: str) -> tuple[str, str, float]:
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"'{text}' is no threshold", where=where, fix=f"write it like '{example}'")
    symbol = match["operator"]
    if symbol not in OPERATORS:
        raise UsageError(
            f"unknown comparison '{symbol}' in '{text}'",
            where=where,
            fix=f"use one of {', '.join(OPERATORS)}",
        )
    try:
        bound = float(match["bound"])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UsageError(f"'{match['bound']}' in '{text}' is no number", where=where, fix="write a fraction: 0.6")
    return match["name"], symbol, bound


def _threshold(text: str, name: str, symbol: str, bound: float, kind: Kind | None, where: str | None) -> Threshold:
    if name not in METRICS:
        known = METRICS if kind is None else [metric.name for metric in metrics_for(kind)]
        raise UsageError(f"unknown metric '{name}' in '{text}'", where=where, fix=did_you_mean(name, known))
    metric = METRICS.get(name) if kind is None else metric_of(kind, name)
    if metric is None:
        assert kind is not None
        names = ", ".join(other.name for other in metrics_for(kind))
        raise UsageError(f"a {kind} suite has no metric '{name}' (in '{text}')", where=where, fix=f"it has: {names}")
    if bound > metric.high or (metric.low is not None and bound < metric.low):
        low = "-inf" if metric.low is None else f"{metric.low:g}"
        raise UsageError(
            f"the bound {bound:g} in '{text}' lies outside the range of {name}, {low} to {metric.high:.4g}",
            where=where,
            fix="metrics are fractions: write 0.6, not 60",
        )
    return Threshold(name, symbol, bound)
