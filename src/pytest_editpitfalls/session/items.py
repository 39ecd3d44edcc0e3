"""pytest's items and the cases that they are about."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_editpitfalls.execution.planning import cases_of_shard
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.options.shard import Shard

from .names import CASE_FIXTURE


def case_of(item: pytest.Item) -> SelectedCase | None:
    """Return the case that ``item`` is about, or None for an item that is not ours."""
    callspec = getattr(item, "callspec", None)
    value = callspec.params.get(CASE_FIXTURE) if callspec is not None else None
    return value if isinstance(value, SelectedCase) else None


def sort_by_model(items: list[pytest.Item], labels: Sequence[str]) -> None:
    """Sort the items with a case by model, so that each model is loaded once; the others keep their places."""
    places = [place for place, item in enumerate(items) if case_of(item) is not None]
    cases = [(item, case) for item in items if (case := case_of(item)) is not None]
    cases.sort(key=lambda pair: labels.index(pair[1].model))
    for place, (item, _) in zip(places, cases, strict=True):
        items[place] = item


def deselect_other_shards(items: list[pytest.Item], shard: Shard) -> list[pytest.Item]:
    """Take the items of other shards out of ``items`` and return them; items without a case stay."""
    planned = [None if (case := case_of(item)) is None else case.planned for item in items]
    ours = cases_of_shard((case for case in planned if case is not None), shard)
    pairs = list(zip(items, planned, strict=True))
    items[:] = [item for item, case in pairs if case is None or case in ours]
    return [item for item, case in pairs if case is not None and case not in ours]
