"""A run beside a baseline, case by case.

Error and skip are no verdict on the editor: an error here is never a pass and never excused by the baseline, a case
that is skipped here is "lost", and neither counts as fixed. A failure that did not fail there is new, also where the
case was skipped or an error there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal, get_args

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import same_definitions
from pytest_editpitfalls.results.comparison_records import (
    CaseKeyRecord,
    ComparisonRecord,
    HyperParameterDifference,
    MetricChange,
)
from pytest_editpitfalls.results.records import CaseRecord, RunResults
from pytest_editpitfalls.results.run_records import JudgeRecord

from .baseline import FAILED, UNSCORED, Baseline, BaselineCase, CaseKey, scores_digest

Change = Literal["known", "new_failure", "fixed", "unchanged", "error", "lost", "gained"]
CHANGES: tuple[Change, ...] = get_args(Change)
_SHOWN = 10

Group = tuple[str, str, str]
"""(suite, editor, model)."""


@dataclass(frozen=True)
class Pair:
    """A case on both sides."""

    key: CaseKey
    base: BaselineCase
    now: CaseRecord

    @property
    def cluster(self) -> str:
        """The subject of edit 1; a case without one is a cluster of its own."""
        return self.base.subject or f"\0{self.key[3]}"

    @property
    def counts(self) -> bool:
        """Whether the case has values here that count."""
        return self.now.is_scored and self.now.outcome != "error"

    def values(self, metric: str) -> tuple[float | None, float | None]:
        """The values there and here; that of a case that ended in an error or was skipped does not count."""
        there = None if self.base.outcome in UNSCORED else self.base.metrics.get(metric)
        return there, self.now.metrics.get(metric) if self.counts else None

    @property
    def is_identical(self) -> bool:
        """Whether all probabilities are the same to the last bit; not known, so False, where one side lacks them."""
        return bool(self.base.scores) and self.base.scores == scores_digest(self.now)

    @property
    def change(self) -> Change:
        """What became of the case.

        ``known``: failed there and fails here. ``new_failure``: fails here and did not fail there. ``fixed``: failed
        there, passed here. ``unchanged``: passed, or skipped, on both sides. ``error``: an error here. ``lost``:
        scored there, skipped here. ``gained``: passed here, skipped or an error there.
        """
        there, here = self.base.outcome, self.now.outcome
        if here == "error":
            return "error"
        if here in FAILED:
            return "known" if there in FAILED else "new_failure"
        if here == "skipped":
            return "lost" if there not in UNSCORED else "unchanged"
        return "fixed" if there in FAILED else "gained" if there in UNSCORED else "unchanged"


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        name: what the baseline is called.
        groups: (suite, editor, model) in the baseline -> those of the figures here that its cases are held against.
        pairs: cases that both have, in the run's order.
        deselected: cases of the baseline that were not selected here, sorted.
        new: cases of the run that the baseline does not have, in the run's order.
    """

    base: Baseline = field(repr=False)
    now: RunResults = field(repr=False)
    name: str
    pairs: tuple[Pair, ...] = field(repr=False)
    deselected: tuple[CaseKey, ...] = field(repr=False)
    new: tuple[CaseKey, ...] = field(repr=False)
    hyper_parameters: tuple[HyperParameterDifference, ...] = ()
    groups: Mapping[Group, Group] = field(default_factory=dict, repr=False)

    @property
    def by_figures(self) -> dict[Group, list[Pair]]:
        """The pairs by (suite, editor, model) of the figures that they count in: those of all seeds together."""
        found: dict[Group, list[Pair]] = {self.now.figures_of(case): [] for case in self.now.cases}
        for pair in self.pairs:
            found[self.now.figures_of(pair.now)].append(pair)
        return found

    def of_change(self, change: Change) -> list[Pair]:
        """Return the pairs with this change, in the run's order."""
        return [pair for pair in self.pairs if pair.change == change]

    def record(self) -> ComparisonRecord:
        """Return the summary for the result file."""
        counts = Counter(pair.change for pair in self.pairs)
        return ComparisonRecord(
            base=self.name,
            started=self.base.started,
            paired=len(self.pairs),
            known=counts["known"],
            unchanged=counts["unchanged"],
            errors=counts["error"],
            lost=counts["lost"],
            gained=counts["gained"],
            new=len(self.new),
            deselected=len(self.deselected),
            new_failures=[key_record(pair.key) for pair in self.of_change("new_failure")],
            fixed=[key_record(pair.key) for pair in self.of_change("fixed")],
            hyper_parameters=list(self.hyper_parameters),
            changes=self.changes(),
        )

    def changes(self) -> list[MetricChange]:
        """Return the means of each metric there and here, over the pairs that have a value on both sides."""
        values: dict[tuple[str, str, str, str], list[tuple[float, float]]] = {}
        for pair in self.pairs:
            group = self.now.figures_of(pair.now)
            for metric, now in pair.now.metrics.items():
                there = pair.base.metrics.get(metric)
                if there is not None and now is not None:
                    values.setdefault((*group, metric), []).append((there, now))
        return [
            MetricChange(
                suite=suite,
                editor=editor,
                model=model,
                metric=metric,
                base=fmean(there for there, _ in both),
                now=fmean(here for _, here in both),
            )
            for (suite, editor, model, metric), both in values.items()
        ]


def key_record(key: CaseKey) -> CaseKeyRecord:
    """Return a key as a record."""
    suite, editor, model, case_id = key
    return CaseKeyRecord(suite=suite, editor=editor, model=model, id=case_id)


def check_protocol(
    base: Baseline,
    *,
    metric_definitions: str,
    digests: Mapping[tuple[str, str], str] | None,
    fingerprints: Mapping[str, str | None],
    judges: Mapping[str, JudgeRecord | None] | None = None,
    dtype: str | None = None,
) -> None:
    """Refuse a baseline that a run cannot be compared with; needs no results, so that it can be asked before the run.

    Args:
        metric_definitions: digest of the definitions that this run computes its metrics with.
        digests: (suite, case id) -> digest, of every case that the suites of this run have, selected or not; None
            where that is not known.
        fingerprints: label -> fingerprint of the models of this run; None where it is not known yet.
        judges: suite -> what scores the texts of its cases here; None for compared words. Suites that are not in it,
            or all of them where it is None, are not looked at.
        dtype: what the models of this run are computed in; None where it is not known.

    Raises:
        UsageError: the metrics are defined otherwise, another judge scored what is said, cases ask something else,
            cases of the baseline are gone, or a model has other weights; with a list that is cut off where it is long.
    """
    if not same_definitions(base.metric_definitions, metric_definitions):
        raise _other("the metrics were defined otherwise when the baseline was saved", [])
    judged = [
        f"suite {suite.name} (there {_scorer(suite.judge)}, here {_scorer(judges[suite.name])})"
        for suite in base.suites
        if judges is not None and suite.name in judges and are_different(suite.judge, judges[suite.name])
    ]
    if judged:
        raise _other("what the model says was scored by something else:", judged)
    weights = [
        f"{model.name} (there {_short(model.fingerprint)}, here {_short(here)})"
        for model in base.models
        if (here := fingerprints.get(model.name)) is not None
        and model.fingerprint is not None
        and model.fingerprint != here
    ]
    before = base.machine.get("dtype")
    if weights and dtype is not None and before is not None and dtype != before:
        raise _other(
            f"models are computed in another precision (there {before}, here {dtype}):",
            weights,
            fix=f"--pitfalls-dtype={before}, or save a baseline in {dtype} (--pitfalls-update-baseline)",
        )
    if weights:
        raise _other("models of the same name have other weights or another configuration:", weights)
    if digests is None:
        return
    suites = {suite for suite, _ in digests}
    there = {
        (group.suite, case.id): case.digest for group in base.groups if group.suite in suites for case in group.cases
    }
    other = [key for key, digest in there.items() if key in digests and digests[key] != digest]
    if other:
        raise _other("cases of the same name ask something else:", map(" ".join, sorted(other)))
    gone = [key for key in there if key not in digests]
    if gone:
        raise _other("the suites lack cases that the baseline has:", map(" ".join, sorted(gone)))


def compare(
    base: Baseline,
    now: RunResults,
    known: Mapping[tuple[str, str], str] | None = None,
    *,
    name: str = "baseline",
) -> Comparison:
    """Pair the cases of a run with those of a baseline.

    Args:
        known: (suite, case id) -> digest, of every case of the suites of the run, selected or not. A case of the
            baseline that is among them and did not run was deselected. None where the suites are not at hand: a case
            that did not run counts as deselected where the run says that it had a part of the suite only.
        name: what the baseline is called.

    Suites, editors and models that the run does not have at all count as deselected.

    Raises:
        UsageError: as `check_protocol`; the run has no case in common with the baseline; a case of the baseline is
            absent without being deselected.
    """
    here = {case.key: case for case in now.cases}
    partners: dict[CaseKey, CaseKey] = {}  # key of a case there
    labels: dict[tuple[str, str, int | None], str] = {}  # what the baseline calls an editor of the run
    for case in now.cases:
        known_as = case.editor, case.model, now.run.seed if case.seed is None else case.seed
        if known_as not in labels:
            labels[known_as] = base.label_of(*known_as)
        partners[case.key] = case.suite, labels[known_as], case.model, case.id
    paired_there = set(partners.values())
    groups_here = {partners[key][:3]: now.figures_of(case) for key, case in here.items()}
    digests = known
    if digests is None:
        groups, partial = {key[:3] for key in paired_there}, _partial_suites(now)
        absent = [key for key in base.by_key if key not in paired_there and key[:3] in groups and key[0] not in partial]
        if absent:
            raise _other("the run lacks cases that the baseline has:", map(" ".join, sorted(absent)))
        digests = {(key[0], key[3]): case.digest for key, case in base.by_key.items()}
        digests.update({(case.suite, case.id): case.digest for case in now.cases})
    check_protocol(
        base,
        metric_definitions=now.run.metric_definitions,
        digests=digests,
        fingerprints={model.name: model.fingerprint for model in now.run.models},
        judges={suite.name: suite.judge for suite in now.run.suites},
        dtype=now.run.dtype,
    )
    pairs = tuple(
        Pair(key, there, case) for key, case in here.items() if (there := base.by_key.get(partners[key])) is not None
    )
    if here and not pairs:
        raise _other(
            "the run has no case in common with the baseline, which has:",
            (f"{group.suite} with {group.editor} on {group.model}" for group in base.groups),
        )
    return Comparison(
        base=base,
        now=now,
        name=name,
        pairs=pairs,
        groups=groups_here,
        deselected=tuple(sorted(key for key in base.by_key if key not in paired_there)),
        new=tuple(key for key in here if partners[key] not in base.by_key),
        hyper_parameters=tuple(_hyper_parameters(base, now)),
    )


def _partial_suites(now: RunResults) -> set[str]:
    """Return the suites that the run says it had a part of."""
    if now.run.shard is not None or now.run.limit is not None:
        return {suite.name for suite in now.run.suites}
    return {suite.name for suite in now.run.suites if suite.selected < suite.total}


def _hyper_parameters(base: Baseline, now: RunResults) -> Iterable[HyperParameterDifference]:
    there = {(editor.name, editor.model): editor for editor in base.editors}
    for editor in now.run.editors:
        before = there.get((editor.name, editor.model))
        if before is None:
            continue
        old: dict[str, Any] = {**before.hyper_parameters, "second_moment": before.second_moment}
        new: dict[str, Any] = {**editor.hyper_parameters, "second_moment": editor.second_moment}
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                yield HyperParameterDifference(
                    editor=editor.name, model=editor.model, name=name, base=old.get(name), now=new.get(name)
                )


def _other(
    what: str,
    items: Iterable[str],
    fix: str = "compare with a baseline of the same protocol, or save a new one (--pitfalls-update-baseline)",
) -> UsageError:
    listed = [visible(item, at_most=200) for item in items]
    shown = "; ".join(listed[:_SHOWN])
    more = f"; and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return UsageError(
        f"{what} {shown}{more}".rstrip(),
        where="baseline",
        fix=fix,
    )


def are_different(there: JudgeRecord | None, here: JudgeRecord | None) -> bool:
    """Whether texts are known to have been scored by two different things; None stands for compared words."""
    if there is None or here is None:
        return there is not here
    return there.is_other_than(here)


def _scorer(judge: JudgeRecord | None) -> str:
    return "compared words" if judge is None else str(judge)


def _short(fingerprint: str | None) -> str:
    return "unknown" if fingerprint is None else fingerprint[:12]
