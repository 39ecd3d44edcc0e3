"""Cases in words: how they missed, their edits, how likely each fact is in which state, what the editors remarked."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import FactProbabilities, fact_probabilities
from pytest_editpitfalls.pitfalls import FactWords
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.program import STATE_WORDS, STATES, ProbeScore
from pytest_editpitfalls.results.records import CaseRecord

Story = tuple[str, list[str]]
"""A headline, and lines below it."""

NOTES = 5


def fact_means(case: CaseRecord) -> FactProbabilities:
    """Return (fact, state) -> mean probability, by the rule of the metrics: unknown when one of its prompts is."""
    return fact_probabilities(
        ProbeScore(probe.fact, probe.state, tuple(math.nan if each is None else each for each in probe.probabilities))
        for probe in case.probes
    )


def fact_words(pitfall: AnyPitfall | None, fact: str) -> FactWords:
    """Return what a fact is called; one that nobody here knows stands for itself."""
    known = None if pitfall is None else pitfall.words_of(fact)
    return FactWords("", short=visible(fact)) if known is None else known


def state_words(state: str) -> str:
    """Return the heading of a state."""
    return STATE_WORDS.get(state, visible(state))


def ordered_states(states: Iterable[str]) -> list[str]:
    """Return the states in the order of tables: the usual ones, then a kind's own as they come."""
    found = dict.fromkeys(states)
    return [state for state in STATE_WORDS if state in found] + [s for s in found if s not in STATE_WORDS]


def follows_edits(state: str) -> bool:
    """Whether a state is on the way from the base model through edit 1; an edit alone is not."""
    return STATES.get(state, ())[:1] in ((), (0,))


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
        f"{each.metric} {each.value:.3g} (wanted {each.threshold.removeprefix(each.metric).strip()})"
        for each in case.thresholds
        if each.passed is False and each.value is not None
    )
    return f"{name}: {visible(failed or case.reason or case.outcome)}"


def in_words(case: CaseRecord, pitfall: AnyPitfall | None) -> list[str]:
    """Return a case in words: its edits, the facts' mean probabilities before and after, whether edit 1 took."""
    means = fact_means(case)
    parts = []
    for fact in dict.fromkeys(fact for fact, _ in means):
        if not fact_words(pitfall, fact).in_story:
            continue
        states = ordered_states(state for known, state in means if known == fact)
        states = [state for state in states if follows_edits(state)] or states
        ends = states if len(states) < 3 else [states[0], states[-1]]
        parts.append(f"{fact} {' -> '.join(f'{means[fact, state]:.3g}' for state in ends)}")
    lines = [visible(line) for line in case.edits]
    if parts:
        lines.append("p: " + visible(", ".join(parts)))
    if case.metrics.get("es") == 0.0:
        lines.append("edit 1 did not take")
    return lines


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
