"""The baseline of a run: which failures it excuses, which runs cannot be compared with it, and the relative gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.cases.digests import case_digest
from pytest_editpitfalls.comparison.baseline import Baseline, incomplete, resolve
from pytest_editpitfalls.comparison.pairing import Comparison, check_protocol, compare
from pytest_editpitfalls.comparison.relative_gates import (
    RelativeGate,
    evaluate_relative_gates,
    parse_relative_gate,
)
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.judging import Judge
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.files import is_there
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import seed_of, without_seed
from pytest_editpitfalls.pitfalls import definitions_digest
from pytest_editpitfalls.results.records import RunResults
from pytest_editpitfalls.results.run_records import JudgeRecord
from pytest_editpitfalls.suites.suite import Suite
from pytest_editpitfalls.verdicts.excuses import ACCEPTED, KNOWN_PITFALL

DIGITS = 16
"""Hex digits of a case's digest in records and baselines."""


class BaselinePolicy:
    """The baseline of a run, where it has one, and the gates relative to it.

    Args:
        root: named baselines lie in a folder below it.
        judge: what scores what the model says in this run; None: words are compared.

    Raises:
        UsageError: the baseline cannot be read.
    """

    def __init__(self, run: RunConfig, root: Path, judge: Judge | None = None) -> None:
        self._run = run
        self._root = root
        self._judge = judge
        self._fingerprints: set[str] = set()
        self.baseline: Baseline | None = None
        if run.baseline is not None and not (run.update_baseline and not is_there(self.path, "--pitfalls-baseline")):
            self.baseline = Baseline.read(self.path)

    @cached_property
    def path(self) -> Path:
        """The baseline's file; only to be asked where there is one."""
        assert self._run.baseline is not None
        return resolve(self._run.baseline, self._root)

    @cached_property
    def places(self) -> dict[Path, str]:
        """Where this run is written as a baseline: file -> the option that asks for it.

        Raises:
            UsageError: the name is none, or the baseline to compare with would be written over.
        """
        wanted: dict[Path, str] = {}
        if self._run.save is not None:
            wanted[resolve(self._run.save, self._root, where="--pitfalls-save")] = "--pitfalls-save"
        if self._run.update_baseline:
            wanted[self.path] = "--pitfalls-update-baseline"
        elif self._run.baseline is not None and self.path in wanted:
            raise UsageError(
                "the baseline would be written over",
                where="--pitfalls-save",
                fix="say so with --pitfalls-update-baseline, or give another name",
            )
        return wanted

    def gates(self, kinds: Mapping[str, Kind]) -> tuple[RelativeGate, ...]:
        """Return the relative gates; raises `UsageError` for one that cannot be read, or that has no baseline."""
        if self._run.baseline is None or not self._run.relative_gates:
            return ()  # gates of ini wait for a run with a baseline; without one, typed gates have been refused
        where = "pitfalls_fail_on or --pitfalls-fail-on"
        return tuple(parse_relative_gate(text, kinds, where=where) for text in self._run.relative_gates)

    def excuse(self, case: SelectedCase) -> str | None:
        """Return why a failure of this case does not fail the run; None where nothing excuses it."""
        if self._run.update_baseline:
            return f"{ACCEPTED} {self._run.baseline}"
        key = (case.suite.name, case.editor, case.model, case.case.id)
        seed = self._run.seed if case.seed is None else case.seed
        if self.baseline is not None and self.baseline.failed(key, seed):
            return f"{KNOWN_PITFALL} {self._run.baseline}"
        return None

    def check_suites(self, suites: Iterable[Suite]) -> None:
        """Refuse a baseline of another protocol or other seeds before anything is computed; raises `UsageError`."""
        if self.baseline is not None:
            suites = tuple(suites)
            self._check(digests_of(suites), {}, self._judges(suites, self.baseline))
            self._check_seeds(self.baseline)

    def _judges(self, suites: Iterable[Suite], base: Baseline) -> dict[str, JudgeRecord | None]:
        """Return what scores the texts of the suites that the baseline has; see `check_protocol`."""
        there = {suite.name for suite in base.suites}
        known = [suite for suite in suites if suite.name in there]
        return {suite.name: None if self._judge is None else self._judge.of_suite(suite) for suite in known}

    def _check_seeds(self, base: Baseline) -> None:
        """Refuse a run of which the baseline has every editor, but none of them under the same seed."""
        if self._run.update_baseline:
            return
        there = {(group.editor, group.model) for group in base.groups}
        seeds: dict[str, list[str]] = {}
        for label, model in product(self._run.editors, self._run.labels.values()):
            seed = seed_of(label)
            if (base.label_of(label, model, self._run.seed if seed is None else seed), model) in there:
                return
            for other, _ in sorted(each for each in there if each[1] == model):
                if without_seed(other) == without_seed(label):
                    seeds.setdefault(without_seed(label), []).append(other)
        if seeds:
            known = [other for others in seeds.values() for other in dict.fromkeys(others)]
            raise UsageError(
                f"the baseline has no editor of this run under the same seed: it has {', '.join(known)}",
                where="--pitfalls-baseline",
                fix="run under a seed that it has (--pitfalls-seed, --pitfalls-seeds), or save a new baseline",
            )

    def check_complete(self, suites: Iterable[Suite]) -> None:
        """Refuse to save a baseline of a run that will have a part of its cases; raises `UsageError`."""
        run, reasons = self._run, []
        if run.shard is not None:
            reasons.append(f"shard {run.shard} has a part of the cases")
        if run.limit is not None:
            reasons += [
                f"the limit leaves {run.limit} of {len(suite.cases)} cases of {suite.name}"
                for suite in suites
                if run.limit < len(suite.cases)
            ]
        self._refuse_to_save(reasons)

    def check_selection(self, cases: Iterable[SelectedCase], suites: Iterable[Suite]) -> None:
        """As `check_complete` when the items are selected: ``-k``, ``--lf`` and node ids count as well.

        Args:
            suites: those that the run was asked for; a test module may bring others.
        """
        selected: dict[tuple[str, str, str], set[str]] = {}
        totals = {suite.name: len(suite.cases) for suite in suites}
        asked = list(totals)
        for case in cases:
            selected.setdefault((case.suite.name, case.editor, case.model), set()).add(case.case.id)
            totals[case.suite.name] = len(case.suite.cases)
        reasons = [
            f"{len(ids)} of {totals[name]} cases of {name} with {editor} on {model} are selected"
            for (name, editor, model), ids in selected.items()
            if len(ids) < totals[name]
        ]
        reasons += [f"no case of {name} is selected" for name in asked if not any(name == key[0] for key in selected)]
        self._refuse_to_save(reasons)

    def _refuse_to_save(self, reasons: Sequence[str]) -> None:
        if reasons and self.places:
            raise _incomplete(reasons, next(iter(self.places.values())))

    def check_model(self, label: str, fingerprint: str | None, dtype: str | None = None) -> None:
        """Refuse a baseline of other weights when a model is open; raises `UsageError`."""
        if self.baseline is not None and not self._run.update_baseline and label not in self._fingerprints:
            self._fingerprints.add(label)
            self._check(None, {label: fingerprint}, dtype=dtype)

    def judge(self, results: RunResults, suites: Iterable[Suite], part: str | None) -> Comparison | None:
        """Write the comparison and the relative gates into ``results``; returns the comparison, where there is one.

        Args:
            suites: all suites that the run knows.
            part: why the run has a part of the cases only, so that no gate is evaluated; None where it has all.

        Raises:
            UsageError: the baseline is of another protocol or model.
        """
        if self.baseline is None or self._run.update_baseline:
            return None
        kinds = {suite.name: suite.kind for suite in results.run.suites}
        comparison = compare(self.baseline, results, digests_of(suites), name=self._run.baseline or "")
        results.comparison = comparison.record()
        gates = self.gates({**kinds, **{suite.name: suite.kind for suite in suites}})
        results.relative_gates = evaluate_relative_gates(
            gates,
            comparison,
            kinds,
            seed=self._run.seed,
            strict=self._run.inconclusive == "fail",
            part=part,
            aggregates=results.aggregates,
        )
        return comparison

    def save(self, results: RunResults) -> list[Path]:
        """Write this run as a baseline where that was asked for, and return the files.

        Raises:
            UsageError: the run is incomplete, or a file cannot be written.
        """
        for path, where in self.places.items():
            if reasons := incomplete(results):
                raise _incomplete(reasons, where)
            Baseline.of(results).write(path, where=where)
        return list(self.places)

    def _check(
        self,
        digests: Mapping[tuple[str, str], str] | None,
        fingerprints: Mapping[str, str | None],
        judges: Mapping[str, JudgeRecord | None] | None = None,
        dtype: str | None = None,
    ) -> None:
        if self.baseline is None or self._run.update_baseline:
            return
        check_protocol(
            self.baseline,
            metric_definitions=definitions_digest(suite.kind for suite in self.baseline.suites),
            digests=digests,
            fingerprints=fingerprints,
            judges=judges,
            dtype=dtype,
        )


def digests_of(suites: Iterable[Suite]) -> dict[tuple[str, str], str]:
    """Return the digests of what the cases of the suites ask, selected or not: (suite, id) -> digest."""
    return {(suite.name, case.id): case_digest(case)[:DIGITS] for suite in suites for case in suite.cases}


def _incomplete(reasons: Sequence[str], where: str) -> UsageError:
    return UsageError(
        f"no baseline is saved from an incomplete run: {'; '.join(reasons)}",
        where=where,
        fix="run all cases of the suites, without -k, --lf, -x, limit or shards, until none is an error",
    )
