"""pytest's items: one per case, editor and model for every test with the marker; which case each is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.errors import PitfallsError, UsageError
from pytest_editpitfalls.execution.planning import BatchGroup, PlannedCase, cases_of_shard
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.options.config import RunConfig, Shard
from pytest_editpitfalls.options.defaults import CASE_FIXTURE, MARKER
from pytest_editpitfalls.suites.discovery import suite_names
from pytest_editpitfalls.suites.limit import limit_cases
from pytest_editpitfalls.suites.suite import Suite, load_suite, long_name, renamed, ships

from .modules import SuiteModule
from .properties import PropertyItem, SelectedProperty


class Parametrizer:
    """Parametrizes marked tests; loads each suite that a user's own module names once.

    Args:
        check: raises `UsageError` for a suite that cannot be asked in this run.
    """

    def __init__(self, run: RunConfig, suites: dict[str, Suite], check: Callable[[Suite], None]) -> None:
        self.run = run
        self.suites = suites
        self._check = check

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Parametrize one test function.

        Raises:
            pytest.Collector.CollectError: the marker is wrong or its suite cannot be loaded.
        """
        marker = metafunc.definition.get_closest_marker(MARKER)
        if marker is None:
            return
        try:
            suite = self._suite(metafunc, marker)
            self._check(suite)
        except PitfallsError as error:
            raise pytest.Collector.CollectError(str(error)) from None
        cases = self._cases(suite)
        groups = [
            BatchGroup(suite.name, editor, label) for label in self.run.labels.values() for editor in self.run.editors
        ]
        selected = [SelectedCase(suite, case, PlannedCase(group, index)) for group in groups for index, case in cases]
        metafunc.parametrize(CASE_FIXTURE, selected, ids=[case.id for case in selected], indirect=True)

    def _cases(self, suite: Suite) -> list[tuple[int, Case]]:
        numbered = list(enumerate(suite.cases))
        if self.run.limit is None:
            return numbered
        kept = {case.id for case in limit_cases(suite.cases, self.run.limit)}
        return [(index, case) for index, case in numbered if case.id in kept]

    def _suite(self, metafunc: pytest.Metafunc, marker: pytest.Mark) -> Suite:
        where = f"{metafunc.definition.nodeid}, @pytest.mark.{MARKER}"
        if len(marker.args) != 1 or marker.kwargs or not isinstance(marker.args[0], str | Path):
            raise UsageError("the marker takes one suite", where=where, fix='write @pytest.mark.pitfalls("reverse")')
        if CASE_FIXTURE not in metafunc.fixturenames:
            raise UsageError(
                "the test has the marker but asks for no case",
                where=where,
                fix="give the function the parameter pitfall_outcome or pitfall_case",
            )
        module = metafunc.definition.getparent(pytest.Module)
        if isinstance(module, SuiteModule):
            return module.suite
        return self._load(str(marker.args[0]), metafunc.definition.path.parent)

    def _load(self, spec: str, folder: Path) -> Suite:
        known = self.suites.get(spec)
        if known is not None and (spec not in suite_names() or ships(known)):  # a name that ships is never another's
            return known
        suite = load_suite(spec, base=folder)
        if (known := self.suites.get(suite.name)) is not None:
            if known.source == suite.source:
                return known
            # two files of one name: results are told apart by the folder
            name = long_name(suite)
            if (known := self.suites.get(name)) is not None and known.source != suite.source:
                raise UsageError(
                    f"two suites are called '{name}' ({known.source} and {suite.source})",
                    fix="give one of the files or its folder another name",
                )
            suite = known or renamed(suite, name)
        self.suites[suite.name] = suite
        return suite


def case_of(item: pytest.Item) -> SelectedCase | None:
    """Return the case that ``item`` is about, or None for an item that is not ours."""
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get(CASE_FIXTURE) if callspec is not None else None
    return value if isinstance(value, SelectedCase) else None


def sort_cases(items: list[pytest.Item], labels: Sequence[str]) -> None:
    """Sort our items by model, which is loaded once, then by seed: editors are prepared once for each.

    The properties of editors are ours, too. Other items keep their places.

    Args:
        labels: of the models, in their order.
    """
    places = [place for place, item in enumerate(items) if _selected(item) is not None]
    cases = [(item, case) for item in items if (case := _selected(item)) is not None]
    cases.sort(key=lambda pair: (labels.index(pair[1].model), -1 if pair[1].seed is None else pair[1].seed))
    for place, (item, _) in zip(places, cases, strict=True):
        items[place] = item


def _selected(item: pytest.Item) -> SelectedCase | SelectedProperty | None:
    """Return what an item of ours is about."""
    return item.selected if isinstance(item, PropertyItem) else case_of(item)


def deselect_other_shards(items: list[pytest.Item], shard: Shard) -> list[pytest.Item]:
    """Take the items of other shards out of ``items`` and return them; items without a case stay."""
    planned = [None if (case := case_of(item)) is None else case.planned for item in items]
    ours = cases_of_shard((case for case in planned if case is not None), shard)
    pairs = list(zip(items, planned, strict=True))
    items[:] = [item for item, case in pairs if case is None or case in ours]
    return [item for item, case in pairs if case is not None and case not in ours]
