"""Runs and comparisons of any size, without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_editpitfalls.comparison.baseline import Baseline
from pytest_editpitfalls.comparison.pairing import Comparison, compare
from pytest_editpitfalls.results import CaseRecord, RunResults
from pytest_editpitfalls.results.records import ProbeRecord
from pytest_editpitfalls.results.run_records import EditorRecord, ModelRecord, RunRecord, SuiteRecord

KINDS: dict[str, Any] = {
    "reverse": "reverse",
    "composite": "composite",
    "easy": "round",
    "coverage": "coverage",
    "same_subject": "same_subject",
}


def case(
    case_id: str,
    metrics: Mapping[str, float | None] | None = None,
    *,
    outcome: Any = "passed",
    suite: str = "reverse",
    editor: str = "rome",
    model: str = "m",
    subject: str | None = None,
    digest: str = "",
) -> CaseRecord:
    """One case; its subject is its own, and its digest is made of its id, unless they are given.

    Its probabilities are its metrics, so that they are the same where these are.
    """
    known = {"es": 1.0} if metrics is None else dict(metrics)
    return CaseRecord(
        id=case_id,
        source_index=0,
        suite=suite,
        editor=editor,
        model=model,
        subject=f"subject of {case_id}" if subject is None else subject,
        digest=digest or f"digest of {suite} {case_id}",
        outcome=outcome,
        metrics=known,
        probes=[ProbeRecord(fact=name, state="12", probabilities=[value]) for name, value in known.items()],
    )


def run(cases: Sequence[CaseRecord], **fields: Any) -> RunResults:
    """A complete run of these cases."""
    suites = sorted({case.suite for case in cases})
    counts = {suite: len({case.id for case in cases if case.suite == suite}) for suite in suites}
    record: dict[str, Any] = {
        "started": "2026-11-23T00:00:00+00:00",
        "metric_definitions": "definitions",
        "exit_status": 1,
        "device": "cpu",
        "dtype": "float32",
        "versions": {"torch": "2.13", "python": "3.11"},
        "editors": [
            EditorRecord(name=editor, model=model, hyper_parameters={"v_lr": 0.5, "layers": [8]})
            for editor, model in sorted({(case.editor, case.model) for case in cases})
        ],
        "models": [ModelRecord(name=name, fingerprint="f" * 64) for name in sorted({case.model for case in cases})],
        "suites": [
            SuiteRecord(
                name=suite,
                kind=KINDS[suite],
                format="own",
                source=f"{suite}.toml",
                digest="d" * 64,
                total=counts[suite],
                selected=counts[suite],
            )
            for suite in suites
        ],
    }
    return RunResults(run=RunRecord.model_validate({**record, **fields}), cases=list(cases))


def metric_runs(
    metric: str,
    there: Sequence[float | None],
    here: Sequence[float | None],
    *,
    suite: str = "reverse",
    **fields: Any,
) -> Comparison:
    """The comparison of two runs with one metric; ``fields`` go to every case, a list gives each its own."""

    def cases(values: Sequence[float | None]) -> list[CaseRecord]:
        return [
            case(
                f"c{place:05d}",
                {metric: value},
                suite=suite,
                **{name: item[place] if isinstance(item, list) else item for name, item in fields.items()},
            )
            for place, value in enumerate(values)
        ]

    return compare(Baseline.of(run(cases(there))), run(cases(here)))
