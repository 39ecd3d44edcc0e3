"""The store in a run: which cases have been computed before, and the place where finished ones are kept at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.session.parametrize import CaseParam

if TYPE_CHECKING:
    from pytest_editpitfalls.execution.planning import Slot
    from pytest_editpitfalls.program import CaseScores, SuitePrograms
    from pytest_editpitfalls.store.directory import Store
    from pytest_editpitfalls.store.identity import RunHeader

Pair = tuple[str, str]
"""Labels of editor and model."""

Finished = tuple[CaseParam, "CaseScores", Mapping[str, "float | None"]]
"""A case, what the engine answered, and its metrics."""


class StoredScores:
    """Scores of earlier runs by what they depend on, and those of this one as they come.

    Args:
        run: what the user asked for.
        run_id: what all processes of this run share and no other run has.

    Raises:
        UsageError: the directory is no store, or of another version.
    """

    def __init__(self, run: RunConfig, run_id: str) -> None:
        self._run = run
        self._run_id = run_id
        self._headers: dict[Pair, RunHeader] = {}
        self._described: set[Pair] = set()
        self._store: Store | None = None
        self._keys: dict[Slot, tuple[str, str]] = {}

    @property
    def store(self) -> Store:
        """The store, opened when it is first needed."""
        if self._store is None:
            from pytest_editpitfalls.store.directory import Store

            self._store = Store.open(self._run.store_path, create=not self._run.replay)
        return self._store

    @property
    def problem(self) -> str | None:
        """Why results of this process are not kept, and how many; None where all are."""
        if self._store is None or self._store.problem is None:
            return None
        return f"{self._store.problem} ({self._store.not_kept} not kept)"

    def choose(self) -> None:
        """For a replay: find the one header of each editor and model, by what was recorded; nothing is loaded.

        Raises:
            UsageError: there is none, or there are several, with the list of what tells them apart.
        """
        from pytest_editpitfalls.store.replay import choose

        run = self._run
        self._headers = choose(
            self.store,
            editors=run.editors,
            models=run.labels,
            seed=run.seed if run.seed_asked else None,
            dtype=run.dtype,
            overrides=run.overrides,
            config_tables=run.config_tables,
            config_path=run.config_path,
            prefixes=run.replay_runs,
        )

    def knows(self, param: CaseParam) -> bool:
        """Whether `meet` or `choose` has been called for this editor and model."""
        return _pair(param) in self._headers

    def meet(self, param: CaseParam, description: dict[str, Any]) -> None:
        """Take the engine's description of an editor and model, before its first batch."""
        from pytest_editpitfalls.store.identity import run_header

        settings = self._run.engine_settings(self._run.model_of(param.model))
        header = run_header(param.editor, settings, description, model_label=param.model, run_id=self._run_id)
        self.store.put_header(header)
        # the store's own says what an earlier run found out when its editor was prepared
        self._headers[_pair(param)] = self.store.header(header.key) or header

    def description(self, param: CaseParam) -> dict[str, Any]:
        """What the engine said of editor and model when the results were computed; another object when it changes."""
        return self._headers[_pair(param)].description

    def recall(self, param: CaseParam, suite: SuitePrograms) -> CaseScores | None:
        """The stored scores of a case; None where there are none. An error is recalled by a replay alone."""
        if self._run.fresh and not self._run.replay:
            return None
        record = self.store.get(self._key(param, suite))
        if record is None or (record.is_error and not self._run.replay):
            return None
        return record.scores()

    def keep(self, finished: Sequence[Finished], suite: SuitePrograms) -> None:
        """Write the finished cases of a batch. Never raises for a full or read-only disk: see `problem`."""
        from pytest_editpitfalls.store.stored_case import StoredCase

        self.store.put_all(
            [
                StoredCase.of(
                    self._key(param, suite),
                    self._headers[_pair(param)],
                    param.case,
                    param.program(),
                    scores,
                    model=param.model,
                    metrics=metrics,
                )
                for param, scores, metrics in finished
            ]
        )

    def describe_again(self, param: CaseParam, description: dict[str, Any]) -> None:
        """Keep the description that an editor has after its first batch (sampled templates, second moments).

        And the one that it has when the size of its batches has changed.
        """
        known = self._headers[_pair(param)]
        if _pair(param) not in self._described or known.description.get("batch") != description.get("batch"):
            self._described.add(_pair(param))
            header = known.with_description(description)
            self._headers[_pair(param)] = header
            self.store.put_header(header, prepared=True)

    def missing(self, param: CaseParam) -> CaseError:
        """What a replay says of a case that is not in the store."""
        return CaseError(
            f"case {param.case.id} of suite '{param.suite.name}' is not in the store",
            where=str(self._run.store_path),
            fix="compute it: run without --pitfalls-replay",
        )

    def _key(self, param: CaseParam, suite: SuitePrograms) -> str:
        """The key of a case's record; what was looked up in vain is kept under the same key a moment later."""
        from pytest_editpitfalls.store.identity import case_key

        header = self._headers[_pair(param)]
        known = self._keys.get(param.slot)
        if known is None or known[0] != header.key:
            known = header.key, case_key(header, param.case, param.program(), suite)
            self._keys[param.slot] = known
        return known[1]


def _pair(param: CaseParam) -> Pair:
    return param.editor, param.model
