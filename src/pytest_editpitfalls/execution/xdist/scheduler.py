"""Whole batches to xdist's workers; the other tests of the run in small bundles, as xdist itself sends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScheduling

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.planning import Isolation, Unit

from .run_directory import ItemFacts, RunDirectory

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

PENDING = 2
"""A worker starts an item when it knows the next one: with fewer than this it is sent more."""

BUNDLES_PER_WORKER = 8
"""Bundles of other tests for each worker."""


class BatchScheduling(LoadScheduling):
    """xdist's load scheduling, in units that are sent whole.

    A unit is a batch, or a bundle of tests that are not ours. A worker gets its next unit when it is about to run out
    of items: a batch takes its time at its first item, so that the fastest worker takes the next one. When a worker
    dies, the unit that it was in is run again in halves, by `Isolation`; whatever it had not begun goes back as it was.

    Attributes:
        planned: the facts of each item; None for one without a case. Empty before the first unit is sent.
    """

    def __init__(self, config: pytest.Config, log: Producer | None, directory: RunDirectory) -> None:
        super().__init__(config, log)
        self.collection: list[str] | None = None
        self.node2pending: dict[WorkerController, list[int]] = {}
        self.directory = directory
        self.isolation = Isolation[int]()
        self.units: list[Unit] = []
        self.planned: list[ItemFacts | None] = []
        self._begun: dict[WorkerController, list[Unit]] = {}

    @property
    def tests_finished(self) -> bool:
        """Whether nothing is left to be sent and no worker waits for more to go on."""
        return self.collection_is_completed and not self.units and not self._waits_for_more()

    @property
    def has_pending(self) -> bool:
        return bool(self.units) or any(self.node2pending.values())

    def _waits_for_more(self) -> bool:
        return any(len(pending) >= PENDING for pending in self.node2pending.values())

    def schedule(self) -> None:
        """Cut the collection into units at the first call, then give every worker something to do."""
        if self.collection is None:
            if not self._check_nodes_have_same_collection():
                return
            self.collection = next(iter(self.node2collection.values()))
            if self.collection:
                self.units = self._cut(len(self.collection))
        for node in self.nodes:
            self.check_schedule(node)

    def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
        """Send the next units to a worker that is about to run out; where there are none it is told to stop."""
        if node.shutting_down or node not in self.node2pending:
            return
        while self.units and len(self.node2pending[node]) < PENDING:
            unit = self.units.pop(0)
            self._begun.setdefault(node, []).append(unit)
            self.node2pending[node].extend(unit)
            node.send_runtest_some(list(unit))
        if not self.units:
            node.shutdown()

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """One item is done; so is its unit when it was the last."""
        pending = self.node2pending[node]
        pending.remove(item_index)
        self._begun[node] = [unit for unit in self._begun[node] if not set(unit).isdisjoint(pending)]
        self.check_schedule(node, duration)

    def mark_test_pending(self, item: str) -> None:
        """Run an item again (for plugins that rerun what crashed)."""
        assert self.collection is not None
        self.units.insert(0, (self.collection.index(item),))
        for node in self.nodes:
            self.check_schedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Take back what a worker that is gone has not done.

        Returns the item that is given up, since it took down every worker that ran it alone; otherwise None.
        """
        pending = self.node2pending.pop(node)
        units = [tuple(i for i in unit if i in pending) for unit in self._begun.pop(node, [])]
        if not pending:
            return None
        assert self.collection is not None
        fatal, *untouched = units
        again = self.isolation.after_death(fatal)
        self.directory.isolate(self.isolation.units)
        self.units[:0] = [*again, *untouched]
        for other in self.nodes:
            self.check_schedule(other)
        return None if again else self.collection[fatal[0]]

    def _cut(self, items: int) -> list[Unit]:
        """Batches as the workers planned them, and bundles of the other items, in the collection's order."""
        try:
            batches, self.planned = self.directory.read_plan()
        except OSError:
            raise UsageError(
                "the workers could not leave their plan in the controller's temporary directory",
                where="pytest-xdist",
                fix="run workers on this machine (-n), and use --pitfalls-shard=1/2 for several machines",
            ) from None
        batched = {item for batch in batches for item in batch}
        others = [item for item in range(items) if item not in batched]
        size = max(1, len(others) // (BUNDLES_PER_WORKER * max(1, len(self.nodes))))
        bundles = [tuple(others[start : start + size]) for start in range(0, len(others), size)]
        return sorted([*(batch for batch in batches if batch), *bundles], key=lambda unit: unit[0])
