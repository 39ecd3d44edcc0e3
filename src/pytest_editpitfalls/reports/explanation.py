"""Why a case failed, as plain text: edits in words, probabilities by state, thresholds, the rerun command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import fact_probabilities
from pytest_editpitfalls.options.editor_labels import is_multi_label
from pytest_editpitfalls.pitfalls import compile_case, pitfall_of
from pytest_editpitfalls.program import NOTHING_CHANGED

from .view.cases import ordered_states, state_words

if TYPE_CHECKING:
    from pytest_editpitfalls.cases.case import Case
    from pytest_editpitfalls.session.outcome import Outcome
    from pytest_editpitfalls.verdicts.thresholds import Verdict


def edits_in_words(case: Case, multi_label: bool = False) -> list[str]:
    """Return one line per edit, escaped."""
    return [visible(line) for line in pitfall_of(case.kind).edits_in_words(case, multi_label)]


def facts_in_words(case: Case) -> dict[str, str]:
    """Return each probed fact as a sentence: fact name -> words."""
    words: dict[str, str] = {}
    for probe in compile_case(case).probes:
        words.setdefault(probe.fact, f"{probe.prompts[0].rstrip()} {probe.target}")
    return {fact: visible(text) for fact, text in words.items()}


def probability_table(outcome: Outcome) -> list[str]:
    """Return the mean probabilities, one line per fact and one column per state."""
    means = fact_probabilities(outcome.probes)
    headings = {state: state_words(state) for state in ordered_states(state for _, state in means)}
    facts = list(dict.fromkeys(fact for fact, _ in means))
    if not facts:
        return ["no probability is known"]
    words = facts_in_words(outcome.case)
    first, wide = max(map(len, facts)), max(14, *(2 + len(heading) for heading in headings.values()))
    lines = [" " * first + "".join(f"{heading:>{wide}}" for heading in headings.values()) + "  fact"]
    for fact in facts:
        cells = "".join(
            f"{means[fact, state]:>{wide}.3g}" if (fact, state) in means else f"{'-':>{wide}}" for state in headings
        )
        lines.append(f"{fact:<{first}}{cells}  {words.get(fact, '')}")
    return lines


def untaken(outcome: Outcome) -> list[str]:
    """Return that the case's own edit 1 did not take, and what says so; nothing where it took."""
    if NOTHING_CHANGED in outcome.notes:
        return ["edit 1 changed nothing"]
    if outcome.metrics.get("es") != 0.0:
        return []
    lines = ["edit 1 did not take (es = 0)"]
    prompts = fact_probabilities(outcome.probes).prompts
    edit, pitfall = outcome.case.edits[0], pitfall_of(outcome.case.kind)
    new, true = prompts.get((pitfall.written, "1")), prompts.get((pitfall.replaced, "1"))
    if new and true:  # a kind of somebody's own may ask otherwise
        lines.append(
            visible(
                f"after the rewrite prompt p1({edit.new_object}) = {new[0]:.3g} is not above "
                f"p1({edit.object}) = {true[0]:.3g}"
            )
        )
    return lines


def explain(outcome: Outcome, verdict: Verdict) -> str:
    """Return the whole explanation; its first line says which thresholds failed and by how much."""
    case = outcome.case
    did_not_take = untaken(outcome)
    # what the reader has to know first: whatever else failed says little then
    judged = [
        str(result)
        for result in (*verdict.failed, *verdict.not_evaluated)
        if not did_not_take or result.threshold.metric != "es"
    ]
    lines = ["; ".join([*did_not_take[:1], *judged])]
    lines.append(
        f"{visible(case.suite)} case {visible(case.id)} ({visible(case.group)}), "
        f"{visible(outcome.editor)} on {visible(outcome.model)}"
    )
    lines += [f"  {line}" for line in edits_in_words(case, is_multi_label(outcome.editor))]
    if outcome.held is False:
        lines.append("  held: false (the model does not know the facts that are edited)")
    lines += [f"  {line}" for line in did_not_take[1:]]
    lines += ["mean probability over the prompts:", *(f"  {line}" for line in probability_table(outcome))]
    lines += [f"  {result}" for result in verdict.results if result.passed]
    lines += [f"note: {visible(note)}" for note in outcome.notes]
    if command := outcome.rerun:
        lines += ["rerun:", f"  {visible(command)}"]  # paths are data, too
    return "\n".join(lines)
