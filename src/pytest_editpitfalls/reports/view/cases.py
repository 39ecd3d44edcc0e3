"""Cases in words: how they missed, their edits, how likely each fact is in which state, what the editors remarked."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import FactProbabilities, fact_probabilities
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.results.records import CaseRecord

from .facts import FactLine, fact_lines, fact_words, fewer, ordered_states
from .words import plain

Story = tuple[str, list[str]]
"""A headline, and lines below it."""

FACTS = 3
"""Facts of one family that a story in a few lines shows."""

NOTES = 5


def fact_means(case: CaseRecord) -> FactProbabilities:
    """Return (fact, state) -> mean value, by the rule of the metrics: unknown when one of its prompts is."""
    return fact_probabilities(
        ProbeScore(
            probe.fact,
            probe.state,
            tuple([math.nan if each is None else each for each in probe.probabilities]),
            measure=probe.measure,
            texts=tuple(probe.texts),
        )
        for probe in case.probes
    )


def missed_by(case: CaseRecord) -> tuple[int, float]:
    """Return how many thresholds failed, and by how much together: the worst cases have the greatest."""
    failed = [threshold for threshold in case.thresholds if threshold.passed is False]
    return len(failed), sum(threshold.missed_by or 0.0 for threshold in failed)


def headline(case: CaseRecord, *, is_failing: bool = True) -> str:
    """Return which case it is, and which thresholds failed where it is a failing one."""
    name = visible(f"{case.suite} {case.id} ({case.editor} on {case.model})")
    if not is_failing:
        return name
    failed = ", ".join(
        f"{each.metric} {plain(each.value)} (wanted {each.threshold.removeprefix(each.metric).strip()})"
        for each in case.thresholds
        if each.passed is False and each.value is not None
    )
    return f"{name}: {visible(failed or case.reason or case.outcome)}"


def in_words(case: CaseRecord, pitfall: AnyPitfall | None) -> list[str]:
    """Return a case in words: its edits, its facts with their mean values on the way, whether edit 1 took."""
    told = [
        line for line in fact_lines(fact_means(case), case.facts, pitfall) if fact_words(pitfall, line.name).in_story
    ]
    last = (ordered_states(state for line in told for state in line.way) or [""])[-1]
    shown, remarks = fewer(told, FACTS)
    lines = [visible(line) for line in case.edits]
    for each in shown:
        lines += [told_line(each, last), *each.sayings]
    lines += remarks
    if case.metrics.get("es") == 0.0:
        lines.append("edit 1 did not take")
    return lines


def told_line(line: FactLine, last: str) -> str:
    """Return a fact with its values on the way to the state ``last``, and its role."""
    return f"{line.text}: {line.numbers(last)}{f' ({line.role})' if line.role else ''}"


def notes_of(cases: Iterable[CaseRecord], limit: int = NOTES) -> list[str]:
    """Return the editors' remarks, those of one sort counted together ("tiny divisor at edit 2: ..." in 3 cases)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for case in cases:
        for note in case.notes:
            found.setdefault(note.partition(":")[0], []).append((case.id, note))
    lines = []
    for sort, members in sorted(found.items(), key=lambda pair: -len(pair[1]))[:limit]:
        case_id, note = members[0]
        if len(members) == 1:
            lines.append(visible(f"{case_id}: {note}"))
        else:
            lines.append(visible(f"{sort}: {len(members)} cases, the first {case_id}: {note}"))
    if len(found) > limit:
        lines.append(f"and {len(found) - limit} more kinds of note, see --pitfalls-json")
    return lines
