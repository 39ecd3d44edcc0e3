"""A stored run as results: rebuilt from its records, without a model. Torch-free.

A record holds what the engine answered, not what the case says. Rules, subjects, edits in words and verdicts come from
the suites that are given; a case that none of them has is reported without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_editpitfalls.cases.case import Case, Kind
from pytest_editpitfalls.cases.digests import case_digest
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import compute_metrics, definitions_digest
from pytest_editpitfalls.results.aggregates import aggregate, aggregate_held, aggregate_strengths
from pytest_editpitfalls.results.build import case_record, editor_record, model_record, probe_facts, suite_facts
from pytest_editpitfalls.results.records import CaseRecord, Outcome, RunResults
from pytest_editpitfalls.results.run_records import JudgeRecord, RunRecord, SuiteRecord
from pytest_editpitfalls.suites.suite import Suite
from pytest_editpitfalls.verdicts.thresholds import Threshold, Verdict, applying, judge, parse_thresholds

from .directory import Store
from .identity import RunHeader
from .stored_case import StoredCase, StoredJudge

UNJUDGED = "no suite that was given has this case: it is not judged"


def stored_results(store: Store, header: RunHeader, suites: Iterable[Suite] = ()) -> RunResults:
    """Return what a store holds of one run; what the cases say is looked up in ``suites``, by content.

    Raises:
        UsageError: the store holds no case of this run that can be read, or cases of a suite that were scored by
            different judges.
    """
    known = {case_digest(case): (suite, case) for suite in suites for case in suite.cases}
    thresholds = {
        suite.name: parse_thresholds(suite.thresholds, kind=suite.kind, where=str(suite.source))
        for suite, _ in known.values()
    }
    records: dict[tuple[str, str, str, StoredJudge | None], StoredCase] = {}
    for record in _of(store, header):
        place = (record.model, record.suite, record.case_id, record.judge)
        if place not in records or record.case_digest in known:  # an edited case leaves its former self behind
            records[place] = record
    if not records:
        raise UsageError(
            f"the store '{store.path}' holds no case of the run {header.key[:12]} that can be read",
            where=header.key,
            fix="editpitfalls store check",
        )
    judges = _judges(records.values(), header)
    kinds: dict[str, Kind] = {record.suite: record.kind for record in records.values()}
    cases: list[CaseRecord] = []
    found: dict[str, Suite] = {}
    ordered = sorted(records.values(), key=lambda record: (record.model, record.suite, record.case_id))
    for row, record in enumerate(ordered):
        suite, case = known.get(record.case_digest, (None, None))
        if suite is None or case is None:
            cases.append(_plain_record(record, row, header.seed))
        else:
            found.setdefault(record.suite, suite)
            cases.append(_full_record(record, case, thresholds[suite.name], header.seed))
    order = {name: place for place, name in enumerate(kinds)}
    cases.sort(key=lambda case: (order[case.suite], case.model, case.source_index, case.id))
    models = list(dict.fromkeys(case.model for case in cases))
    return RunResults(
        run=RunRecord(
            seed=header.seed,
            dtype=header.dtype,
            metric_definitions=definitions_digest(kinds.values()),
            replay=True,
            editors=[editor_record(header.editor, model, header.description) for model in models],
            models=[model_record(model, header.description) for model in models],
            suites=[_suite_record(name, kinds[name], found.get(name), cases, judges.get(name)) for name in kinds],
            versions=dict(header.versions),
        ),
        cases=cases,
        aggregates=aggregate(cases, kinds),
        held_aggregates=aggregate_held(cases, kinds),
        by_strength=aggregate_strengths(cases, kinds),
    )


def _of(store: Store, header: RunHeader) -> Iterator[StoredCase]:
    for key in store.record_keys():
        record = store.get(key)
        if record is not None and record.header == header.key:
            yield record


def _judges(records: Iterable[StoredCase], header: RunHeader) -> dict[str, JudgeRecord]:
    """What scored the texts of each suite's cases; raises `UsageError` where that is not one and the same."""
    found: dict[str, set[StoredJudge | None]] = {}
    for record in records:
        if record.judge is not None or any(probe.measure == "said" for probe in record.probes):
            found.setdefault(record.suite, set()).add(record.judge)
    for suite, judges in found.items():
        if len(judges) > 1:
            by = sorted("compared words" if each is None else str(_judge_record(each)) for each in judges)
            what = (
                f"the cases of suite '{suite}' in the stored run {header.key[:12]} were scored by {' and by '.join(by)}"
            )
            raise UsageError(
                what,
                where=header.key,
                fix="write a result file with --pitfalls-replay, --pitfalls-json and the judge that you mean "
                "(--pitfalls-judge, or none), and name that file",
            )
    return {suite: _judge_record(judge) for suite, judges in found.items() for judge in judges if judge is not None}


def _judge_record(judge: StoredJudge) -> JudgeRecord:
    return JudgeRecord(name=judge.name, source=judge.source)


def _full_record(record: StoredCase, case: Case, thresholds: tuple[Threshold, ...], seed: int) -> CaseRecord:
    scores = record.scores()
    metrics = compute_metrics(case.kind, scores.probes)
    verdict = judge(metrics, applying(metrics, thresholds)) if scores.probes else None
    made = case_record(
        case,
        scores,
        editor=record.editor,
        model=record.model,
        outcome=_outcome(record, verdict),
        verdict=verdict,
        reason=_reason(verdict),
        cached=True,
        seed=seed,
    )
    made.suite = record.suite
    return made


def _plain_record(record: StoredCase, row: int, seed: int) -> CaseRecord:
    return CaseRecord.model_validate(
        {
            "id": record.case_id,
            "source_index": row,
            "suite": record.suite,
            "editor": record.editor,
            "model": record.model,
            "seed": seed,
            "digest": record.case_digest[:16],
            "outcome": _outcome(record, None),
            "reason": record.error or record.skipped or UNJUDGED,
            "held": record.scores().held,
            "held_parts": record.held_parts,
            "metrics": compute_metrics(record.kind, record.scores().probes) if record.probes else {},
            "probes": probe_facts(record.probes),
            "seconds": record.seconds,
            "cached": True,
            "notes": list(record.notes),
        }
    )


def _outcome(record: StoredCase, verdict: Verdict | None) -> Outcome:
    if record.is_error:
        return "error"
    if record.skipped is not None or (verdict is not None and verdict.passed is None):
        return "skipped"
    return "passed" if verdict is None or verdict.passed else "failed"


def _reason(verdict: Verdict | None) -> str | None:
    if verdict is None or verdict.passed:
        return None
    return "; ".join(str(result) for result in verdict.failed or verdict.not_evaluated)


def _suite_record(
    name: str, kind: Kind, suite: Suite | None, cases: list[CaseRecord], judge: JudgeRecord | None
) -> SuiteRecord:
    selected = len({case.id for case in cases if case.suite == name})
    if suite is None:
        counts = {"total": selected, "selected": selected}
        return SuiteRecord(name=name, kind=kind, format="own", source="", digest="", judge=judge, **counts)
    facts = {**suite_facts(suite, suite.thresholds, judge), "name": name, "kind": kind, "selected": selected}
    return SuiteRecord.model_validate(facts)
