"""The cases as compact JSON for the page's own script: columns, string tables, probabilities in three characters.

Of every fact and state it has the mean over the prompts to three significant digits, the least and the greatest
probability to half a per cent, and of metrics four digits; all prompts and digits are in the run's JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TypeVar, cast

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import FactProbabilities
from pytest_editpitfalls.options.defaults import NODE_FOLDER
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.program import STATE_WORDS
from pytest_editpitfalls.reports.view.cases import fact_means, told_line
from pytest_editpitfalls.reports.view.facts import FactLine, fact_lines, fewer, ordered_states, state_words
from pytest_editpitfalls.reports.view.reruns import reruns
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.reports.view.words import plain
from pytest_editpitfalls.results.records import CaseRecord, RunResults, ThresholdRecord

from .encoding import encode_factor, encode_place, encode_probability
from .words import OUTCOMES, words_of

FACTS = 10
"""Facts of one family that a story shows before somebody asks for all."""

_EDIT = re.compile(r"edit (\d+): (.*) \.\.\. (.*) -> (.*)", re.DOTALL)

T = TypeVar("T", bound=Hashable)


class Table(dict[T, int]):
    """Distinct values and their places; a new value gets the next place when it is asked for."""

    def __missing__(self, value: T) -> int:
        return self.setdefault(value, len(self))


def summaries(case: CaseRecord, means: FactProbabilities) -> list[tuple[float | None, float | None, float | None]]:
    """Return mean, least and greatest probability of each fact and state, in the order of the record."""
    found = []
    for probe in case.probes:
        known = [value for value in probe.probabilities if value is not None]
        found.append((means.get((probe.fact, probe.state)), min(known, default=None), max(known, default=None)))
    return found


def short(value: float | None) -> float | int | None:
    """Return a number with four digits, or with as many more as its first three need to come out right in the script.

    An int where it is one. A script rounds a last 5 up, and Python to the even digit.
    """
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.3g}")
    for digits in range(3, 9):
        text = f"{value:.{digits}e}"
        if text[text.index(".") + 3 : text.index("e")].rstrip("0") != "5":
            rounded = float(text)
            break
    return int(rounded) if rounded == int(rounded) and abs(rounded) < 1e15 else rounded


def case_payload(view: RunView, others: Sequence[tuple[str, RunResults]] = ()) -> dict[str, object]:
    """Return the page's data: what the script needs for the case table and the stories.

    ``others`` are label and results of the runs that it is compared with; only their outcomes are needed.
    """
    columns = _Columns()
    for case in view.results.cases:
        columns.add(case, view.kinds.get(case.suite, case.suite), view.pitfalls.get(case.suite))
    in_words = {visible(rule): words for rule, words in view.rules.items()}
    states = ordered_states([*STATE_WORDS, *(state for facts in columns.fact_sets for _, state in facts)])
    shown = {name for table in view.tables for name in table.columns}
    return {
        "format": 4,
        "folder": NODE_FOLDER,
        # an object would put "2" before "12"
        "states": [(visible(state), state_words(state)) for state in states],
        "words": {
            visible(view.kinds[suite]): {
                "facts": columns.roles.get(view.kinds[suite], {}),
                "metrics": {} if pitfall is None else {metric.name: metric.question for metric in pitfall.metrics},
            }
            for suite, pitfall in view.pitfalls.items()
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
        "reruns": [
            [*map(visible, (each.suite, each.editor, each.model)), each.before, each.after, each.test, list(each.cases)]
            for each in reruns(view.results.run.reruns)
        ],
        "others": [[visible(label), _outcomes_in(other, view.results.cases)] for label, other in others],
        "ruleWords": [in_words[rule] for rule in columns.labels["rule"]],
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
        self.prompts: Table[tuple[int, int, int]] = Table()
        self.edits: Table[tuple[int, ...]] = Table()
        self.word_sets: Table[tuple[int, ...]] = Table({(): 0})
        self.roles: dict[str, dict[str, str]] = {}
        self.metric_sets: Table[tuple[str, ...]] = Table()
        self.fact_sets: Table[tuple[tuple[str, str], ...]] = Table()
        self.threshold_sets: Table[tuple[tuple[str, str, float], ...]] = Table()
        self.columns: dict[str, list[object]] = {}
        self._texts: dict[str, int] = {}  # raw text and sets -> their places: most were seen before
        self._sets: dict[int, dict[Hashable, int]] = {}
        self.joined: set[int] = set()  # prompts that their object follows without a space

    def add(self, case: CaseRecord, kind: str, pitfall: AnyPitfall | None) -> None:
        """Add one case of this kind; ``pitfall`` is None where the kind is not installed."""
        string = self._string
        means = fact_means(case)
        lines = fact_lines(means, case.facts, pitfall)
        # what is no probability has no place on the chart's scale: it is told in words
        measured = [
            text
            for line in lines
            if line.measure != "probability"
            for text in (told_line(line, line.way[-1]), *line.sayings)
        ]
        lines = [line for line in lines if line.measure == "probability"]
        case = case.model_copy(update={"probes": [probe for probe in case.probes if probe.measure == "probability"]})
        roles = self.roles.setdefault(kind, {})
        for line in lines:
            # one role for a whole family, but for those that have their own
            if line.role and roles.setdefault(visible(line.family), line.role) != line.role:
                roles[visible(line.name)] = line.role
        # the subject stands apart, so that a prompt that many cases ask is stored once
        asked = {fact.prompt.rstrip(): fact.subject for fact in case.facts.values()}
        prompts = {text: self._prompt(text, subject) for text, subject in asked.items()}
        self.joined |= {prompts[fact.prompt.rstrip()] for fact in case.facts.values() if not fact.joiner}
        fields: dict[str, object] = {
            "id": string(case.id),
            "index": case.source_index,
            **{name: table[visible(getattr(case, name))] for name, table in self.labels.items()},
            "subject": string(case.subject),
            "edits": self.edits[tuple(part for line in case.edits for part in self._edit(line, prompts))],
            "digest": visible(case.digest),
            "outcome": list(OUTCOMES).index(case.outcome),
            "reason": 0 if _repeats_thresholds(case) else string(case.reason or ""),
            "held": -1 if case.held is None else int(case.held),
            "unequal": int(bool(case.unequal_tokens)),
            "seconds": short(case.seconds),
            "cached": int(case.cached),
            "notes": [string(note) for note in case.notes] or 0,
            "measured": [string(text.strip()) for text in measured] or 0,
            "metricSet": self._set(self.metric_sets, tuple(case.metrics)),
            "metrics": [short(value) for value in case.metrics.values()],
            "factSet": self._set(self.fact_sets, tuple((probe.fact, probe.state) for probe in case.probes)),
            "probes": "".join(
                encode_probability(mean) + encode_factor(least, mean) + encode_factor(greatest, mean)
                for mean, least, greatest in summaries(case, means)
            ),
            "wordSet": self.word_sets[self._words(case, prompts)],
            "first": _first(case, lines),
            "thresholdSet": self._set(
                self.threshold_sets, tuple((each.threshold, each.metric, each.bound) for each in case.thresholds)
            ),
            "thresholds": _verdicts(case),
        }
        for name, value in fields.items():
            self.columns.setdefault(name, []).append(value)

    def as_json(self) -> dict[str, object]:
        """Return the tables and the columns; the strings last, when all are known."""
        width = 3 if max(len(self.strings), len(self.prompts)) <= 64**3 else 4

        def places(numbers: Iterable[int]) -> str:
            return "".join(encode_place(number, width) for number in numbers)

        return {
            **{f"{name}s": list(table) for name, table in self.labels.items()},
            "width": width,
            "prompts": places(part for prompt in self.prompts for part in prompt),
            "joined": sorted(self.joined),
            "edits": list(map(places, self.edits)),
            "wordSets": list(map(places, self.word_sets)),
            "metricSets": list(self.metric_sets),
            "factSets": list(self.fact_sets),
            "thresholdSets": list(self.threshold_sets),
            "cases": self.columns,
            "strings": list(self.strings),
        }

    def _string(self, text: str) -> int:
        place = self._texts.get(text)
        if place is None:
            place = self._texts[text] = self.strings[visible(text)]
        return place

    def _set(self, table: Table[T], raw: T) -> int:
        """Return the place of names, bounds or rows of them, with their text made visible."""
        known = self._sets.setdefault(id(table), {})
        place = known.get(raw)
        if place is None:
            place = known[raw] = table[_shown(raw)]
        return place

    def _prompt(self, text: str, subject: str = "") -> int:
        """Return a filled prompt by its parts: before the subject, the subject, behind it."""
        before, found, after = text.partition(subject) if subject else (text, "", "")
        return self.prompts[self._string(before), self._string(found), self._string(after)]

    def _words(self, case: CaseRecord, prompts: Mapping[str, int]) -> tuple[int, ...]:
        """Return prompt and object of each fact, in the order of the record; nothing where one has no words."""
        names = dict.fromkeys(probe.fact for probe in case.probes)
        facts = [case.facts[name] for name in names if name in case.facts]
        if len(facts) < len(names):
            return ()
        return tuple(part for fact in facts for part in (prompts[fact.prompt.rstrip()], self._string(fact.object)))

    def _edit(self, line: str, prompts: Mapping[str, int]) -> tuple[int, int, int, int]:
        """Return number, question, old and new object of an edit in words; of another line 0, its text, 0, 0."""
        match = _EDIT.fullmatch(line)
        if match is None or int(match[1]) >= 64**3:
            return 0, self._string(line), 0, 0
        number, question, old, new = match.groups()
        known = prompts.get(question)
        place = self._prompt(question) if known is None else known
        return int(number), place, self._string(old), self._string(new)


def _shown(raw: T) -> T:
    if isinstance(raw, tuple):
        return cast(T, tuple(map(_shown, raw)))
    return cast(T, visible(raw)) if isinstance(raw, str) else raw


def _first(case: CaseRecord, lines: Sequence[FactLine]) -> int | list[int]:
    """Return the places of the facts that a story shows first, where they are not all; else 0."""
    shown, remarks = fewer(lines, FACTS)
    places = {name: place for place, name in enumerate(dict.fromkeys(probe.fact for probe in case.probes))}
    return [places[line.name] for line in shown] if remarks else 0


def _verdicts(case: CaseRecord) -> str | list[list[float | int | None]]:
    """Return the thresholds' verdicts, one character each where value and miss follow from metrics and bounds."""
    if all(_follows(threshold, case) for threshold in case.thresholds):
        return "".join("-" if t.passed is None else str(int(t.passed)) for t in case.thresholds)
    return [[-1 if t.passed is None else int(t.passed), short(t.value), short(t.missed_by)] for t in case.thresholds]


def _follows(threshold: ThresholdRecord, case: CaseRecord) -> bool:
    """Whether the page's script finds a threshold's value and miss, in the digits that it shows."""
    if threshold.value != case.metrics.get(threshold.metric):
        return False
    sent = short(threshold.value)
    if threshold.passed is not False or sent is None:
        return threshold.missed_by is None
    return f"{abs(sent - threshold.bound):.3g}" == plain(threshold.missed_by)


def _repeats_thresholds(case: CaseRecord) -> bool:
    """Whether the reason only repeats which thresholds failed, which the story says anyway."""
    parts = (case.reason or "").split("; ")
    return all(any(part.startswith(f"{t.threshold}: ") for t in case.thresholds) for part in parts)


def _outcomes_in(other: RunResults, cases: Sequence[CaseRecord]) -> list[int]:
    known = {case.key: list(OUTCOMES).index(case.outcome) for case in other.cases}
    return [known.get(case.key, -1) for case in cases]
