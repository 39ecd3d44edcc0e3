"""The cases as compact JSON for the page's own script: columns, string tables, probabilities in three characters.

Of every fact and state it has the mean, the least and the greatest probability over the prompts, to three significant
digits, and of metrics four; all prompts and digits are in the run's JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import TypeVar

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.options.defaults import NODE_FOLDER
from pytest_editpitfalls.program import STATE_WORDS
from pytest_editpitfalls.reports.view.cases import fact_means, ordered_states, state_words
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.results.records import CaseRecord, RunResults

from .words import OUTCOMES, words_of

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
ZERO, UNKNOWN = 0, 64**3 - 1
_MANTISSAS = 900  # 100 to 999
_EDIT = re.compile(r"edit (\d+): (.*) \.\.\. (.*) -> (.*)", re.DOTALL)

T = TypeVar("T", bound=Hashable)


class Table(dict[T, int]):
    """Distinct values and their places; a new value gets the next place when it is asked for."""

    def __missing__(self, value: T) -> int:
        return self.setdefault(value, len(self))


def encode_probability(value: float | None) -> str:
    """Return three characters: a decimal mantissa of three digits and its exponent, as `%.3g` rounds it.

    What lies under 1e-290 counts as 0; what is no finite number from 0 to 9.99 is unknown.
    """
    if value is None or not math.isfinite(value) or not 0.0 <= value < 9.995:
        number = UNKNOWN
    elif value < 1e-290:
        number = ZERO
    else:
        text = f"{value:.2e}"
        mantissa, exponent = int(text[0] + text[2:4]), -int(text[5:])
        number = 1 + exponent * _MANTISSAS + mantissa - 100
    return DIGITS[number >> 12] + DIGITS[number >> 6 & 63] + DIGITS[number & 63]


def summaries(case: CaseRecord) -> list[tuple[float | None, float | None, float | None]]:
    """Return mean, least and greatest probability of each fact and state, in the order of the record."""
    means = fact_means(case)
    found = []
    for probe in case.probes:
        known = [value for value in probe.probabilities if value is not None]
        found.append((means.get((probe.fact, probe.state)), min(known, default=None), max(known, default=None)))
    return found


def short(value: float | None, digits: int = 4) -> float | int | None:
    """Return a number with few digits: an int where it is one."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def case_payload(view: RunView, others: Sequence[tuple[str, RunResults]] = ()) -> dict[str, object]:
    """Return the page's data: what the script needs for the case table and the stories.

    ``others`` are label and results of the runs that it is compared with; only their outcomes are needed.
    """
    columns = _Columns()
    for case in view.results.cases:
        columns.add(case)
    states = ordered_states([*STATE_WORDS, *(state for facts in columns.fact_sets for _, state in facts)])
    shown = {name for table in view.tables for name in table.columns}
    return {
        "format": 2,
        "folder": NODE_FOLDER,
        # an object would put "2" before "12"
        "states": [(visible(state), state_words(state)) for state in states],
        "words": {
            visible(view.kinds[suite]): {
                "facts": {name: words.text for name, words in pitfall.facts.items()},
                "metrics": {metric.name: metric.question for metric in pitfall.metrics},
            }
            for suite, pitfall in view.pitfalls.items()
            if pitfall is not None
        },
        "outcomes": list(OUTCOMES),
        "kinds": {visible(name): visible(kind) for name, kind in view.kinds.items()},
        "metrics": {
            visible(name): {**asdict(words_of(name, view.pitfalls.values())), "inTable": name in shown}
            for name in view.metrics_of_cases
        },
        "unreliable": [
            [visible(part) for part in (a.suite, a.editor, a.model, a.reliable_reason or "")]
            for a in [*view.results.aggregates, *view.results.by_seed]
            if a.reliable is False
        ],
        "others": [[visible(label), _outcomes_in(other, view.results.cases)] for label, other in others],
        **columns.as_json(),
    }


def embedded(data: object) -> str:
    """Return JSON that may stand inside a script element: nothing in it can end the element or start a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


class _Columns:
    """The cases by column. Text is made visible on its way in: nothing after this escapes control characters.

    String 0 is no text.
    """

    def __init__(self) -> None:
        self.strings: Table[str] = Table({"": 0})
        self.labels: dict[str, Table[str]] = {n: Table() for n in ("suite", "editor", "model", "rule")}
        self.edits: Table[tuple[object, ...]] = Table()
        self.metric_sets: Table[tuple[str, ...]] = Table()
        self.fact_sets: Table[tuple[tuple[str, str], ...]] = Table()
        self.threshold_sets: Table[tuple[tuple[str, str, float], ...]] = Table()
        self.columns: dict[str, list[object]] = {}

    def add(self, case: CaseRecord) -> None:
        """Add one case."""
        string = self._string
        fields: dict[str, object] = {
            "id": string(case.id),
            "index": case.source_index,
            **{name: table[visible(getattr(case, name))] for name, table in self.labels.items()},
            "subject": string(case.subject),
            "edits": self.edits[tuple(self._edit(line) for line in case.edits)],
            "digest": visible(case.digest),
            "outcome": list(OUTCOMES).index(case.outcome),
            "reason": 0 if _repeats_thresholds(case) else string(case.reason or ""),
            "held": -1 if case.held is None else int(case.held),
            "seconds": short(case.seconds, 3),
            "cached": int(case.cached),
            "notes": [string(note) for note in case.notes] or 0,
            "metricSet": self.metric_sets[tuple(visible(name) for name in case.metrics)],
            "metrics": [short(value) for value in case.metrics.values()],
            "factSet": self.fact_sets[tuple((visible(p.fact), visible(p.state)) for p in case.probes)],
            "probes": "".join(encode_probability(value) for values in summaries(case) for value in values),
            "thresholdSet": self.threshold_sets[
                tuple((visible(t.threshold), visible(t.metric), t.bound) for t in case.thresholds)
            ],
            "thresholds": _verdicts(case),
        }
        for name, value in fields.items():
            self.columns.setdefault(name, []).append(value)

    def as_json(self) -> dict[str, object]:
        """Return the tables and the columns; the strings last, when all are known."""
        return {
            **{f"{name}s": list(table) for name, table in self.labels.items()},
            "edits": list(self.edits),
            "metricSets": list(self.metric_sets),
            "factSets": list(self.fact_sets),
            "thresholdSets": list(self.threshold_sets),
            "cases": self.columns,
            "strings": list(self.strings),
        }

    def _string(self, text: str) -> int:
        return self.strings[visible(text)]

    def _edit(self, line: str) -> int | tuple[int, ...]:
        """Return an edit in words by its parts, so that a question that is asked twice is stored once."""
        match = _EDIT.fullmatch(line)
        if match is None:
            return self._string(line)
        number, *parts = match.groups()
        return (int(number), *(self._string(part) for part in parts))


def _verdicts(case: CaseRecord) -> str | list[list[float | int | None]]:
    """Return the thresholds' verdicts, one character each where value and miss follow from metrics and bounds."""
    follows = all(
        t.value == case.metrics.get(t.metric)
        and t.missed_by == (abs(t.value - t.bound) if t.passed is False and t.value is not None else None)
        for t in case.thresholds
    )
    if follows:
        return "".join("-" if t.passed is None else str(int(t.passed)) for t in case.thresholds)
    return [[-1 if t.passed is None else int(t.passed), short(t.value), short(t.missed_by)] for t in case.thresholds]


def _repeats_thresholds(case: CaseRecord) -> bool:
    """Whether the reason only repeats which thresholds failed, which the story says anyway."""
    parts = (case.reason or "").split("; ")
    return all(any(part.startswith(f"{t.threshold}: ") for t in case.thresholds) for part in parts)


def _outcomes_in(other: RunResults, cases: Sequence[CaseRecord]) -> list[int]:
    known = {case.key: list(OUTCOMES).index(case.outcome) for case in other.cases}
    return [known.get(case.key, -1) for case in cases]
