"""The store in a run: which cases have been computed before, and where finished ones are kept at once.

Collecting, and the controller of a distributed run, need no store: it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from pytest_editpitfalls.engine.settings import Expected
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.program import CaseScores, SuitePrograms
from pytest_editpitfalls.results.run_records import JudgeRecord

from .judging import OPTION, Judge, judged_key, says_something
from .planning import PlannedCase
from .selected_case import SelectedCase

if TYPE_CHECKING:
    from pytest_editpitfalls.store.directory import Store
    from pytest_editpitfalls.store.identity import RunHeader
    from pytest_editpitfalls.store.stored_case import StoredCase, StoredJudge

Pair = tuple[str, str]
"""Labels of editor and model."""

Finished = tuple[SelectedCase, CaseScores, Mapping[str, "float | None"]]
"""A case, what the engine answered, and its metrics."""


class TellStored(Protocol):
    """Is told what this process knows to be in the store."""

    def __call__(self, cases: Set[PlannedCase], /, *, anew: bool) -> object:
        """Take further cases, or, ``anew``, all of them."""


class ResultCache:
    """Scores of earlier runs, found by what they depend on, and those of this one as they come.

    Attributes:
        stored: the cases that this process found in the store or wrote there.

    Args:
        run_id: what all processes of this run share and no other run has.
        tell_stored: is told what has come to `stored`.
        judge: scores what is said; what another one scored is not found.
    """

    def __init__(
        self,
        run: RunConfig,
        run_id: str,
        tell_stored: TellStored | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._judge = judge
        self.stored: set[PlannedCase] = set()
        self._tell_stored = tell_stored
        self._untold: set[PlannedCase] = set()
        self._run = run
        self._run_id = run_id
        self._headers: dict[Pair, RunHeader] = {}
        self._updated: set[Pair] = set()
        self._keys: dict[PlannedCase, tuple[str, str]] = {}

    @cached_property
    def directory(self) -> Store:
        """The store's directory, opened when it is first needed.

        Raises:
            UsageError: the directory is no store, or of another version.
        """
        from pytest_editpitfalls.store.directory import Store

        return Store.open(self._run.store_path, create=not self._run.replay)

    @property
    def problem(self) -> str | None:
        """Why results of this process are not kept, and how many; None where all are."""
        store: Store | None = self.__dict__.get("directory")
        if store is None or store.problem is None:
            return None
        return f"{store.problem} ({store.not_kept} not kept)"

    def select_stored_runs(self) -> None:
        """For a replay: find the stored run of each editor and model, by what was recorded; nothing is loaded.

        Raises:
            UsageError: there is none, or there are several, with the list of what tells them apart.
        """
        from pytest_editpitfalls.store.replay import choose

        run = self._run
        self._headers = choose(
            self.directory,
            editors=run.editors,
            models=run.labels,
            seed=run.seed if run.seed_asked else None,
            dtype=run.dtype,
            overrides=run.overrides,
            config_tables=run.config_tables,
            config_path=run.config_path,
            prefixes=run.replay_runs,
        )

    def add_run(self, case: SelectedCase, description: dict[str, Any]) -> None:
        """Take the engine's description of the case's editor and model, before its first batch."""
        from pytest_editpitfalls.store.identity import run_header

        settings = self._run.engine_settings(self._run.model_of(case.model))
        header = run_header(case.editor, settings, description, model_label=case.model, run_id=self._run_id)
        self.directory.put_header(header)
        # the store's own says what an earlier run found out when its editor was prepared
        self._headers[_pair(case)] = self.directory.header(header.key) or header

    def has_run_of(self, case: SelectedCase) -> bool:
        """Whether the case's editor and model are known, from `add_run` or `select_stored_runs`."""
        return _pair(case) in self._headers

    def description(self, case: SelectedCase) -> dict[str, Any]:
        """What the engine said of editor and model when the results were computed; another object when it changes."""
        return self._headers[_pair(case)].description

    def lookup(self, case: SelectedCase, suite: SuitePrograms) -> CaseScores | None:
        """Return the stored scores of a case; None where there are none. Only a replay finds an error."""
        if self._run.fresh and not self._run.replay:
            return None
        record = self.directory.get(self._key(case, suite))
        if record is None and self._run.replay:
            record = self._of_unread_judge(case, suite)
        if record is None or (record.is_error and not self._run.replay):
            return None
        if not record.is_error:
            self._add_stored([case.planned])
        self._keys.pop(case.planned, None)
        return record.scores()

    def expected(self, batch: Sequence[SelectedCase], left: Sequence[SelectedCase]) -> Expected | None:
        """Return what the ``left`` cases will take, the first ``batch`` among them, by what is stored of earlier runs.

        A case of which nothing is known counts as the mean of the others; None: nothing is known of the batch.
        """
        from pytest_editpitfalls.store.earlier import EarlierSeconds

        model = self.description(batch[0])["model"]
        earlier = EarlierSeconds(self.directory, str(model["device"]))
        known = [each for case in left if (each := earlier.of(case.editor, case.model, case.suite.name)) is not None]
        first = [each for case in batch if (each := earlier.of(case.editor, case.model, case.suite.name)) is not None]
        if not first:
            return None
        whole, edits = sum(each.whole for each in first), sum(each.edits for each in first)
        seconds = sum(each.whole for each in known) * len(left) / len(known)
        return Expected(len(left), seconds, whole * len(batch) / len(first), edits / whole)

    def store(self, finished: Sequence[Finished], suite: SuitePrograms) -> None:
        """Write the finished cases of a batch. Never raises for a full or read-only disk: see `problem`."""
        from pytest_editpitfalls.store.stored_case import StoredCase

        judge = self._stored_judge
        kept = self.directory.put_all(
            [
                StoredCase.of(
                    self._key(case, suite),
                    self._headers[_pair(case)],
                    case.case,
                    case.program(),
                    scores,
                    model=case.model,
                    metrics=metrics,
                    judge=judge if says_something(case.program()) else None,
                )
                for case, scores, metrics in finished
            ]
        )
        for case, _, _ in finished:
            self._keys.pop(case.planned, None)
        pairs = zip(finished, kept, strict=True)
        self._add_stored([case.planned for (case, scores, _), is_kept in pairs if is_kept and scores.error is None])
        self.report_stored()

    def report_stored(self) -> None:
        """Pass on what is in the store: after cases were looked up, as after each change of it."""
        if self._tell_stored is not None and self._untold:
            self._tell_stored(self._untold, anew=False)
            self._untold.clear()

    def _add_stored(self, cases: Sequence[PlannedCase]) -> None:
        self._untold.update(case for case in cases if case not in self.stored)
        self.stored.update(cases)

    def forget(self, case: SelectedCase) -> None:
        """Take all that the case's editor has ever stored on this model out of the store, not only this run's."""
        if (header := self._headers.get(_pair(case))) is not None:
            self.directory.remove_all_of(header.key)
        pair = _pair(case)
        self.stored -= {each for each in self.stored if (each.group.editor, each.group.model) == pair}
        self._untold.clear()
        if self._tell_stored is not None:
            self._tell_stored(self.stored, anew=True)

    def update_description(self, case: SelectedCase, description: dict[str, Any]) -> None:
        """Keep the description that an editor has after its first batch, and whenever its batch size has changed.

        The first batch adds sampled templates and second moments.
        """
        pair = _pair(case)
        known = self._headers[pair]
        if pair not in self._updated or known.description.get("batch") != description.get("batch"):
            self._updated.add(pair)
            self._headers[pair] = header = known.with_description(description)
            self.directory.put_header(header, prepared=True)

    def missing(self, case: SelectedCase, suite: SuitePrograms) -> CaseError:
        """Return what a replay says of a case that is not in the store, or not with the scores of this run's judge."""
        about, compute = f"case {case.case.id} of suite '{case.suite.name}'", "run without --pitfalls-replay"
        where = str(self._run.store_path)
        found = [judge for judge, _ in self._judged_otherwise(case, suite)]
        if not found:
            return CaseError(f"{about} is not in the store", where=where, fix=f"compute it: {compute}")
        ours = None if self._judge is None else self._judge.record
        there = [None if judge is None else JudgeRecord(name=judge.name, source=judge.source) for judge in found]
        names = {None if judge is None else judge.name for judge in there}
        words = " and by ".join("compared words" if judge is None else str(judge) for judge in there)
        here = "this run has no judge" if ours is None else f"this run has the {ours}"
        if ours is not None and names == {ours.name}:
            fix = f"give the judge's module the source code that it had, or {compute}"
        else:
            other = next(
                (f"replay with {OPTION}={name}" for name in names if name is not None), f"replay without {OPTION}"
            )
            fix = f"{other}, or {compute}"
        return CaseError(f"{about} is in the store as scored by {words}; {here}", where=where, fix=fix)

    def _of_unread_judge(self, case: SelectedCase, suite: SuitePrograms) -> StoredCase | None:
        """For a replay: the scores of a judge of this name whose source could not be read, then or now.

        No key tells such scores from others, as with editors whose source cannot be read.
        """
        if self._judge is None or self._judge.version:
            return None
        found = self._judged_otherwise(case, suite)
        return next((record for judge, record in found if judge is not None and judge.name == self._judge.path), None)

    def _judged_otherwise(
        self, case: SelectedCase, suite: SuitePrograms
    ) -> list[tuple[StoredJudge | None, StoredCase]]:
        """Return the case as others have scored it: other judges, or compared words (None)."""
        from pytest_editpitfalls.store.identity import case_key

        program = case.program()
        if not says_something(program):
            return []
        plain = case_key(self._headers[_pair(case)], case.case, program, suite)
        judged = ((judge, judged_key(plain, judge.name, judge.source, judge.once)) for judge in self._judges)
        keys: list[tuple[StoredJudge | None, str]] = [(None, plain), *judged]
        return [(judge, record) for judge, key in keys if (record := self.directory.get(key)) is not None]

    @cached_property
    def _judges(self) -> tuple[StoredJudge, ...]:
        """All judges that scored a case of the store, by name; every record is read."""
        return self.directory.judges()

    @cached_property
    def _stored_judge(self) -> StoredJudge | None:
        from pytest_editpitfalls.store.stored_case import StoredJudge

        if self._judge is None:
            return None
        source = self._judge.version or None
        return StoredJudge(name=self._judge.path, source=source, once=self._run_id if source is None else None)

    def _key(self, case: SelectedCase, suite: SuitePrograms) -> str:
        """Return the key of a case's record; remembered, since a case not found is stored under it a moment later."""
        from pytest_editpitfalls.store.identity import case_key

        header = self._headers[_pair(case)]
        known = self._keys.get(case.planned)
        if known is None or known[0] != header.key:
            key = case_key(header, case.case, case.program(), suite)
            known = header.key, key if self._judge is None else self._judge.key(key, case.program(), self._run_id)
            self._keys[case.planned] = known
        return known[1]


def _pair(case: SelectedCase) -> Pair:
    return case.editor, case.model
