"""Why a case failed, as plain text: edits in words, probabilities by state, thresholds, the rerun command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.metrics.metric import fact_probabilities
from pytest_editpitfalls.options.editor_labels import is_multi_label
from pytest_editpitfalls.pitfalls import pitfall_of
from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.program import NOTHING_CHANGED
from pytest_editpitfalls.results.build import facts_in_words

from .view.facts import fact_lines, fewer, ordered_states, state_words

if TYPE_CHECKING:
    from pytest_editpitfalls.cases.case import Case
    from pytest_editpitfalls.session.outcome import Outcome
    from pytest_editpitfalls.verdicts.thresholds import Verdict


MEASURES: dict[Measure, str] = {
    "probability": "",
    "said": "said: share of the prompts",
    "perplexity": "perplexity",
    "divergence": "nats from the base model",
}
"""What a line of the table shows where that is no probability."""

FACTS = 10
"""Facts of one family that an explanation shows."""


def edits_in_words(case: Case, multi_label: bool = False) -> list[str]:
    """Return one line per edit, escaped."""
    return [visible(line) for line in pitfall_of(case.kind).edits_in_words(case, multi_label)]


def probability_table(outcome: Outcome) -> list[str]:
    """Return the mean values, one line per fact and one column per state; what is no probability says what it is."""
    case = outcome.case
    words = facts_in_words(case, is_multi_label(outcome.editor))
    lines, remarks = fewer(fact_lines(fact_probabilities(outcome.probes), words, pitfall_of(case.kind)), FACTS)
    if not lines:
        return ["no probability is known"]
    headings = {state: state_words(state) for state in ordered_states(state for line in lines for state in line.means)}
    wide = {state: max(8, len(heading)) for state, heading in headings.items()}
    table = ["  ".join([*(f"{heading:>{wide[state]}}" for state, heading in headings.items()), "fact"])]
    for line in lines:
        cells = [f"{line.number(s) if s in line.means else '-':>{wide[s]}}" for s in headings]
        what = ", ".join(filter(None, [line.role, MEASURES[line.measure]]))
        table.append("  ".join([*cells, f"{line.text}{f' ({what})' if what else ''}"]))
        table += [f"    {saying}" for saying in line.sayings]
    return [*table, *remarks]


def _heading(outcome: Outcome) -> str:
    plain = all(probe.measure == "probability" for probe in outcome.probes)
    return (
        "mean probability over the prompts:"
        if plain
        else "mean over the prompts, a probability where nothing else is said:"
    )


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
    lines += [_heading(outcome), *(f"  {line}" for line in probability_table(outcome))]
    lines += [f"  {result}" for result in verdict.results if result.passed]
    lines += [f"note: {visible(note)}" for note in outcome.notes]
    if command := outcome.rerun:
        lines += ["rerun:", f"  {visible(command)}"]  # paths are data, too
    return "\n".join(lines)
