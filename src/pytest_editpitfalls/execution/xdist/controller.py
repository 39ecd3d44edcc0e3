"""The controller's side of a run with pytest-xdist: who works where, what is sent, what becomes of the dead."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import editor_name
from pytest_editpitfalls.reports.terminal_line import TerminalLine

from .exchange import Exchange
from .isolation import GIVEN_UP
from .progress import Board
from .workers import INPUT, Gpus, WorkerSetup, shared_threads, visible_gpus

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

    from .scheduler import BatchScheduling

MODES = ("no", "load")
"""Modes of ``--dist`` that keep a batch in one worker."""


def check_distribution(config: pytest.Config) -> None:
    """Raise `UsageError` for a way to distribute that would tear batches apart."""
    mode = config.getoption("dist", "no")
    if mode not in MODES:
        raise UsageError(
            f"'{mode}' sends single tests, and cases are edited and scored in batches",
            where="--dist",
            fix="use --dist=load, or -n alone: whole batches are sent to the workers",
        )
    elsewhere = [spec for spec in config.getoption("tx", None) or () if "popen" not in spec]
    if mode != "no" and elsewhere:
        raise UsageError(
            "workers on other machines cannot see this run's directory",
            where=f"--tx={elsewhere[0]}",
            fix="use -n on each machine, with --pitfalls-shard=1/2, 2/2, and replay the merged store",
        )


class Controller:
    """Registered beside the run in xdist's controller.

    Args:
        config: pytest's configuration.
        run: what the user asked for.
        count_done: gives the number of cases that are reported.
        given_up: makes the payload of an item that no worker survives: what the plan says of it, and why.

    Raises:
        UsageError: the workers cannot fit into the memory.
    """

    def __init__(
        self,
        config: pytest.Config,
        run: RunConfig,
        count_done: Callable[[], int],
        given_up: Callable[[dict[str, Any], str, str], dict[str, Any]],
    ) -> None:
        self._run = run
        self._workers = len(config.getoption("tx") or ())
        self._gpus = Gpus(visible_gpus(run.device))
        self._memory = [] if run.replay else _memory(run, self._workers, on_gpu=bool(self._gpus.names))
        self._folder = Path(tempfile.mkdtemp(prefix="editpitfalls-"))
        self._count_done = count_done
        self._payload = given_up
        self._scheduler: BatchScheduling | None = None
        self.exchange = Exchange(self._folder)
        self.board = Board(TerminalLine(config), self.exchange, self._counts)

    def pytest_report_header(self) -> list[str]:
        """Say what the workers will take."""
        return [f"pitfalls: {line}" for line in self._memory]

    def pytest_configure_node(self, node: WorkerController) -> None:
        """Give a worker, also one that takes a dead one's place, its GPU or its threads."""
        gpu = self._gpus.take(node.gateway.id)
        threads = shared_threads(self._workers) if gpu is None else None
        sharing = self._gpus.sharing(self._workers)
        setup = WorkerSetup(str(self._folder), self._workers, gpu, threads, sharing)
        node.workerinput[INPUT] = setup.as_input()

    def pytest_testnodedown(self, node: WorkerController, error: object | None) -> None:
        """Take the GPU back."""
        self._gpus.give_back(node.gateway.id)
        self.exchange.tell(node.gateway.id, None)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Producer) -> BatchScheduling:
        """Send whole batches."""
        from .scheduler import BatchScheduling

        self._scheduler = BatchScheduling(config, log, self.exchange)
        self.board.start()
        return self._scheduler

    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport) -> None:
        """Report an item that no worker survives as an error of its case, with everything that is known of it."""
        report.longrepr = GIVEN_UP
        report.when = "setup"  # an error, not a failure: there is nothing to judge
        about = self._about(crashitem)
        if about is not None:
            report.pitfall = self._payload(about, crashitem, GIVEN_UP)  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, object, object]:
        """The line of progress makes room for pytest's own."""
        with self.board.hidden():
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logstart(self) -> Generator[None, object, object]:
        """The line of progress makes room for pytest's own."""
        with self.board.hidden():
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Stop drawing."""
        self.board.stop()

    def pytest_unconfigure(self) -> None:
        """Remove the run's directory, when the last worker is gone."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _counts(self) -> tuple[int, int]:
        planned = self._scheduler.planned if self._scheduler is not None else ()
        return self._count_done(), sum(about is not None for about in planned)

    def _about(self, nodeid: str) -> dict[str, Any] | None:
        collection = None if self._scheduler is None else self._scheduler.collection
        if self._scheduler is None or collection is None:
            return None
        return self._scheduler.planned[collection.index(nodeid)]


def _memory(run: RunConfig, workers: int, on_gpu: bool) -> list[str]:
    """What the workers take for each model, in words; raises `UsageError` where they cannot fit."""
    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
    from pytest_editpitfalls.engine.models.worker_memory import workers_estimate

    in_place = any(EDITORS.get(editor_name(label)).form == "in place" for label in run.editors)
    lines = []
    for model in run.models:
        device = "cpu" if run.device == "auto" and not on_gpu else run.device
        estimate = workers_estimate(model, run.dtype, device, workers, in_place=in_place)
        if estimate is not None:
            estimate.check()
            lines.append(f"{model}: {estimate}")
    return lines
