"""From what an engine says of cases, editors and models to the records of a result file."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.cases.digests import case_digest
from pytest_editpitfalls.options.editor_labels import is_multi_label
from pytest_editpitfalls.pitfalls import compile_case, compute_metrics, pitfall_of, unequal_tokens
from pytest_editpitfalls.program import CaseScores
from pytest_editpitfalls.suites.suite import Suite
from pytest_editpitfalls.verdicts.thresholds import ThresholdResult, Verdict

from .records import CaseRecord, FactRecord, Outcome, ThresholdRecord
from .run_records import EditorRecord, JudgeRecord, ModelRecord


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
    seed: int | None = None,
) -> CaseRecord:
    """Return the record of one case.

    Args:
        verdict: the thresholds' verdict; None when nothing was judged.
        metrics: those of ``scores``, where they are known already; default: computed here.
        reason: why it failed, was skipped or is an error; default: the engine's own reason.
        seed: what the editor drew under, where that is known.

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
            "seed": seed,
            "rule": case.group,
            "strength": case.row.strength,
            "subject": case.edits[0].subject,
            "edits": pitfall_of(case.kind).edits_in_words(case, is_multi_label(editor)),
            "digest": case_digest(case)[:16],
            "outcome": outcome,
            "reason": reason or scores.error or scores.skipped,
            "held": scores.held,
            "held_parts": dict(scores.held_parts),
            "unequal_tokens": unequal_tokens(case.kind, scores.probes),
            "metrics": dict(metrics),
            "probes": probe_facts(scores.probes),
            "facts": _facts(case, is_multi_label(editor)) if scores.probes else {},
            "thresholds": [] if verdict is None else [_threshold(result) for result in verdict.results],
            "seconds": scores.seconds,
            "cached": cached,
            "notes": notes,
        }
    )


def facts_in_words(case: Case, multi_label: bool = False) -> dict[str, FactRecord]:
    """Return what a case asks, in words: name of a fact -> the fact. Whoever shows it escapes it.

    It is read from the program, so that every kind of pitfall has it.
    """
    return {name: FactRecord.model_validate(fact) for name, fact in _facts(case, multi_label).items()}


def _facts(case: Case, multi_label: bool) -> dict[str, dict[str, str]]:
    """The fields of the `FactRecord` of each fact."""
    pitfall, labels = pitfall_of(case.kind), {relation.base: relation.label for relation in case.relations}
    facts: dict[str, dict[str, str]] = {}
    for probe in compile_case(case, multi_label).probes:
        if probe.fact not in facts:
            words = pitfall.words_of(probe.fact)
            facts[probe.fact] = {
                "subject": probe.subject,
                "relation": probe.relation,
                "label": labels.get(probe.relation, ""),
                "object": probe.object,
                "prompt": probe.inputs[0],
                "role": "" if words is None else words.text,
                "joiner": probe.joiner,
            }
    return facts


def probe_facts(probes: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the fields of the `ProbeRecord` of each probe."""
    return [
        {
            "fact": probe.fact,
            "state": probe.state,
            "probabilities": list(probe.probabilities),
            "tokens": probe.tokens,
            **({} if probe.measure == "probability" else {"measure": probe.measure, "texts": list(probe.texts)}),
        }
        for probe in probes
    ]


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


def editor_record(editor: str, model: str, description: Mapping[str, Any]) -> EditorRecord:
    """Return the record of an editor on a model from `EngineSession.describe` of both, or what a store has kept."""
    facts = _mapping(description.get("editor"))
    used = dict(_mapping(facts.get("hyperparameters")))
    if facts.get("context_templates") is not None:  # the sampled ones, as they were used
        used["context_templates"] = facts["context_templates"]
    return EditorRecord.model_validate(
        {
            "name": editor,
            "model": model,
            "seed": description.get("seed"),
            "hyper_parameters": used,
            "second_moment": facts.get("second_moment"),
            "batch": description.get("batch"),
            "checkpoint": facts.get("checkpoint"),
        }
    )


def model_record(label: str, description: Mapping[str, Any]) -> ModelRecord:
    """Return the record of a model; the arguments are those of `editor_record`."""
    details = dict(_mapping(description.get("model")))
    known = {field: details.pop(field, None) for field in ("fingerprint", "family", "device", "dtype")}
    source = details.pop("name", None)
    details.pop("label", None)
    return ModelRecord.model_validate({"name": label, "source": source, **known, "details": details})


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def suite_facts(suite: Suite, thresholds: Iterable[object], judge: JudgeRecord | None = None) -> dict[str, Any]:
    """Return what the results say about a suite, as plain JSON types (the number selected is added later).

    ``judge`` is what scores the texts of its cases, where there are any.
    """
    return {
        "name": suite.name,
        "kind": suite.kind,
        "format": suite.format,
        "source": str(suite.source),
        "digest": suite.digest,
        "total": len(suite.cases),
        "thresholds": [str(threshold) for threshold in thresholds],
        "license": suite.license,
        "provenance": suite.provenance,
        "judge": None if judge is None else judge.model_dump(mode="json"),
    }
