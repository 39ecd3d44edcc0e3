"""From a case, its scores and its verdict to a `CaseRecord`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.cases.digests import case_digest
from pytest_editpitfalls.options.editor_labels import is_multi_label
from pytest_editpitfalls.pitfalls import compute_metrics, pitfall_of
from pytest_editpitfalls.program import CaseScores
from pytest_editpitfalls.verdicts.thresholds import ThresholdResult, Verdict

from .records import CaseRecord, Outcome, ThresholdRecord


def case_record(
    case: Case,
    scores: CaseScores,
    *,
    editor: str,
    model: str,
    outcome: Outcome,
    verdict: Verdict | None = None,
    metrics: Mapping[str, float | None] | None = None,
    reason: str | None = None,
    cached: bool = False,
) -> CaseRecord:
    """Return the record of one case.

    Args:
        case: the case.
        scores: what the engine answered.
        editor: editor name.
        model: label of the model, as in node ids.
        outcome: the item's outcome.
        verdict: the thresholds' verdict; None when nothing was judged.
        metrics: those of ``scores``, where they are known already; default: computed here.
        reason: why it failed, was skipped or is an error; default: the engine's own reason.
        cached: whether the scores came from a store.

    A probability that is no finite number becomes null, with a note.
    """
    notes = list(scores.notes)
    if not all(math.isfinite(sum(probe.probabilities)) for probe in scores.probes):
        broken = sum(not math.isfinite(value) for probe in scores.probes for value in probe.probabilities)
        if broken:
            notes.append(f"{broken} probabilities are not finite and count as unknown")
    if not scores.probes:
        metrics = {}
    elif metrics is None:
        metrics = compute_metrics(case.kind, scores.probes)
    unknown = [name for name, value in metrics.items() if value is None]
    if unknown:
        notes.append(f"unknown: {', '.join(unknown)}")
    # one call for the whole tree: a call for each record in it costs several times as much
    return CaseRecord.model_validate(
        {
            "id": case.id,
            "source_index": case.source_index,
            "suite": case.suite,
            "editor": editor,
            "model": model,
            "rule": case.group,
            "subject": case.edits[0].subject,
            "edits": pitfall_of(case.kind).edits_in_words(case, is_multi_label(editor)),
            "digest": case_digest(case)[:16],
            "outcome": outcome,
            "reason": reason or scores.error or scores.skipped,
            "held": scores.held,
            "metrics": dict(metrics),
            "probes": [
                {"fact": probe.fact, "state": probe.state, "probabilities": list(probe.probabilities)}
                for probe in scores.probes
            ],
            "thresholds": [] if verdict is None else [_threshold(result) for result in verdict.results],
            "seconds": scores.seconds,
            "cached": cached,
            "notes": notes,
        }
    )


def threshold_record(result: ThresholdResult) -> ThresholdRecord:
    """Return a threshold's result as a record."""
    return ThresholdRecord.model_validate(_threshold(result))


def _threshold(result: ThresholdResult) -> dict[str, Any]:
    """The fields of a `ThresholdRecord`."""
    return {
        "threshold": str(result.threshold),
        "metric": result.threshold.metric,
        "value": result.value,
        "bound": result.threshold.bound,
        "passed": result.passed,
        "missed_by": result.missed_by,
    }
