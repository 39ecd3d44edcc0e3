"""The hooks of a run with an editor. Each hands over to the module that knows; see `plugin` for the rest."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_editpitfalls.errors import PitfallsError, UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.execution.executor import Watcher
from pytest_editpitfalls.execution.own_editors import register
from pytest_editpitfalls.execution.xdist.controller import Controller, check_distribution
from pytest_editpitfalls.execution.xdist.exchange import Exchange
from pytest_editpitfalls.execution.xdist.progress import WorkerWatcher
from pytest_editpitfalls.execution.xdist.workers import WorkerSetup
from pytest_editpitfalls.garbage import held_back
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import check_label, check_settings
from pytest_editpitfalls.reports.progress import ProgressLine
from pytest_editpitfalls.reports.rerun import rerun_command
from pytest_editpitfalls.session.modules import collect_suites
from pytest_editpitfalls.session.names import PAYLOAD, STATE
from pytest_editpitfalls.session.parametrize import CaseParam, param_of

from .finalizer import Finish, check_paths
from .given_up import about, given_up
from .outcome import PitfallFailed
from .recorder import Recorder
from .session import RunState

if TYPE_CHECKING:
    pass


class ActiveRun:
    """Registered by `plugin` when an editor is given, in every process of the run.

    Args:
        config: pytest's configuration.
        run: what the user asked for.

    Raises:
        UsageError: the command line, ini or a suite is wrong; nothing has been loaded or written yet.
    """

    def __init__(self, config: pytest.Config, run: RunConfig) -> None:
        self.is_worker = hasattr(config, "workerinput")
        self.config = config
        self.worker = WorkerSetup.of(getattr(config, "workerinput", {}))
        if self.worker is not None:
            self.worker.take_up()  # before anybody's editor imports torch
        if not self.is_worker:
            check_distribution(config)
        register(config, run)
        if not self.is_worker:  # workers get what has been checked
            check_names(run)
        exchange = None if self.worker is None else Exchange(Path(self.worker.exchange))
        watcher: Watcher = ProgressLine(config)
        if exchange is not None:
            watcher = WorkerWatcher(exchange, config.workerinput["workerid"])  # type: ignore[attr-defined]
        self.state = RunState(config, run, watcher, exchange)
        if not self.is_worker:
            check_paths(self.state)
            if not self.state.selection.paths:  # a user's own module may bring further suites
                self.state.against.check_suites(self.state.suites.values())
        self.exchange = exchange
        config.stash[STATE] = self.state
        config.args = list(self.state.selection.paths)
        config.args_source = pytest.Config.ArgsSource.ARGS
        self.recorder = Recorder(self.state, config.invocation_params.args)
        self.finish = Finish(config, self.state, self.recorder)
        self.empty_shard = False
        if self.state.is_distributed and not self.is_worker:
            controller = Controller(config, run, lambda: len(self.recorder.payloads), given_up)
            config.pluginmanager.register(controller, "editpitfalls-controller")

    def pytest_report_header(self) -> list[str]:
        """Say what is edited, in which model."""
        from pytest_editpitfalls.reports.header import header

        return header(self.state)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Time the collection."""
        started = time.perf_counter()
        with held_back():
            result = yield
        if not self.state.is_distributed:
            self.recorder.seconds["collection"] = time.perf_counter() - started
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Put the suites' items beside what pytest collects from its own arguments."""
        report = yield
        if isinstance(collector, pytest.Session):
            try:
                report.result = [*report.result, *collect_suites(collector, self.state.selection)]
            except PitfallsError as error:
                raise pytest.UsageError(str(error)) from None
        return report

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One item per case, editor and model."""
        self.state.parametrizer.parametrize(metafunc)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Sort cases by model, so that each is loaded once; when all others have selected, keep this run's shard."""
        if len(self.state.run.models) > 1:
            labels = list(self.state.run.labels.values())
            places = [place for place, item in enumerate(items) if param_of(item) is not None]
            cases = [(item, param) for item in items if (param := param_of(item)) is not None]
            cases.sort(key=lambda pair: labels.index(pair[1].model))
            for place, (item, _) in zip(places, cases, strict=True):
                items[place] = item
        result = yield
        if (shard := self.state.run.shard) is not None:
            slots = [None if (param := param_of(item)) is None else param.slot for item in items]
            ours = shard.of_slots(slot for slot in slots if slot is not None)
            others = [item for item, slot in zip(items, slots, strict=True) if slot and slot not in ours]
            items[:] = [item for item, slot in zip(items, slots, strict=True) if not slot or slot in ours]
            config.hook.pytest_deselected(items=others)
            self.empty_shard = bool(others) and not items
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Cut batches from the selected cases; a worker leaves the plan for the controller."""
        if session.config.option.collectonly and self.worker is None:
            return  # nothing will run
        params = [param_of(item) for item in session.items]
        if self.exchange is None or self.worker is None:
            self.state.runner.select(params)
            return
        size = self.worker.batch_size(len({param.slot for param in params if param}), self.state.run)
        batches = self.state.runner.select(params, size)
        self.exchange.write_plan(batches, [None if param is None else about(param) for param in params])

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Open the first model before the first test, so that what is wrong with it is said once."""
        broken = session.testsfailed and not session.config.option.continue_on_collection_errors
        if self.is_worker or broken or session.config.option.collectonly:
            return
        try:
            self.state.runner.prepare()
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show our own failures without a traceback, and let the case's record travel on the report."""
        report = yield
        ours = call.excinfo is not None and isinstance(call.excinfo.value, PitfallFailed | PitfallsError)
        if call.excinfo is not None and ours and not hasattr(report, "wasxfail"):
            report.longrepr = call.excinfo.getrepr(style="value")
            if (crash := getattr(report.longrepr, "reprcrash", None)) is not None:
                # the line of the short summary and JUnit's message: under CI pytest does not shorten it
                crash.message = crash.message.partition("\n")[0]
        if (param := param_of(item)) is not None:
            self._attach(item, param, report, call)
            explained = call.excinfo is not None and isinstance(call.excinfo.value, PitfallFailed)
            if report.failed and not explained:  # an explanation ends with the command already
                report.sections.append(("rerun", rerun_command(item, param, self.state.run)))
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the case's record, in the process that writes results."""
        if not self.is_worker and (payload := getattr(report, "pitfall", None)) is not None:
            self.recorder.add(payload)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the gates, set the exit status and write the results, also after ``-x`` or Ctrl-C."""
        if self.is_worker or self.config.option.collectonly:
            return
        self.finish(session, empty_shard=self.empty_shard)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables, and why there is no result file where it could not be written."""
        from pytest_editpitfalls.reports.github import gate_annotations
        from pytest_editpitfalls.reports.terminal import write_summary

        write_summary(terminalreporter, self.state, self.recorder)
        for path in self.finish.saved:
            shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
            terminalreporter.write_line(f"pitfalls: baseline saved to {shown}")
        if self.recorder.store_problem is not None:
            problem = f"the store is incomplete: {self.recorder.store_problem}"
            terminalreporter.write_line(f"WARNING: {problem}", yellow=True)
        for remark in self.finish.remarks:
            terminalreporter.write_line(f"WARNING: {remark}", yellow=True)
        for problem in self.finish.problems:
            terminalreporter.write_line(f"ERROR: {problem}", red=True)
        if self.recorder.payloads:
            for annotation in gate_annotations(
                self.recorder.results(self.recorder.results().run.exit_status)
            ):
                terminalreporter.write_line(annotation)

    def pytest_unconfigure(self) -> None:
        """The engine's processes end with the run."""
        self.state.runner.close()

    def _attach(
        self, item: pytest.Item, param: CaseParam, report: pytest.TestReport, call: pytest.CallInfo[None]
    ) -> None:
        """Attach the record to the report that decides: the call's, or that of a setup that did not get there."""
        decides = report.when == "call" or (report.when == "setup" and not report.passed)
        if not decides and not (report.when == "teardown" and report.failed):
            return
        if PAYLOAD not in item.stash:
            self.state.blank(item, param)
        payload: dict[str, Any] = item.stash[PAYLOAD]
        record = payload["record"]
        record["outcome"] = _outcome_of(report, call)
        if record["outcome"] in {"failed", "error", "skipped", "xfailed"}:
            record["reason"] = record["reason"] or _reason_of(report, call)
        if self.state.usage_error is not None and record["outcome"] == "error":
            payload["usage_error"] = self.state.usage_error
        if record["outcome"] == "skipped" and _skipped_here(call):
            # point at the test, not at the line of this package that skipped it
            path, line, _ = item.location
            report.longrepr = (path, (line or 0) + 1, f"Skipped: {visible(record['reason'])}")
        # a record is of built-in types already; a later report of the item changes its own copy
        rest = {name: value for name, value in payload.items() if name != "record"}
        report.pitfall = {**plain(rest), "record": dict(record)}  # type: ignore[attr-defined]
        if self.config.getoption("xmlpath", None):
            from pytest_editpitfalls.reports.junit import case_properties
            from pytest_editpitfalls.results.records import CaseRecord

            item.user_properties.extend(case_properties(CaseRecord.model_validate(report.pitfall["record"])))
        item.stash[PAYLOAD] = {**payload, "seconds": {}}  # told once


def check_names(run: RunConfig) -> None:
    """Raise `UsageError` for an unknown editor or model and an unwritable result path; imports no torch."""
    from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
    from pytest_editpitfalls.engine.models import DTYPES, no_tf32, resolve
    from pytest_editpitfalls.errors import did_you_mean

    known = list(EDITORS)
    for editor in run.editors:
        check_label(editor, known, where="--pitfalls-editor")
    for source, names in (("--pitfalls-set", run.overrides), (str(run.config_path), run.config_tables)):
        for editor in names:
            check_settings(editor, known, where=source)
    if run.dtype is not None and run.dtype not in DTYPES:
        raise UsageError(
            f"unknown dtype '{run.dtype}'", where="--pitfalls-dtype", fix=did_you_mean(run.dtype, DTYPES)
        )
    if run.dtype == "tf32" and run.device == "cpu":
        raise no_tf32(run.device)
    for model in run.models:
        resolve(model)


def plain(payload: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of built-in types only.

    A string or number of a library's own type (torch's version is one) would abort a run with pytest-xdist.
    """
    copy: dict[str, Any] = json.loads(json.dumps(payload, default=str))
    return copy


def _outcome_of(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str:
    if report.skipped:
        return "xfailed" if hasattr(report, "wasxfail") else "skipped"
    if report.passed:
        return "passed"
    of_engine = call.excinfo is not None and isinstance(call.excinfo.value, PitfallsError)
    return "failed" if report.when == "call" and not of_engine else "error"


def _skipped_here(call: pytest.CallInfo[None]) -> bool:
    """Whether this package skipped the test (its frame calls `pytest.skip`, which is the last one)."""
    if call.excinfo is None or len(call.excinfo.traceback) < 2:
        return False
    return Path(call.excinfo.traceback[-2].path).is_relative_to(Path(__file__).parents[1])


def _reason_of(report: pytest.TestReport, call: pytest.CallInfo[None]) -> str | None:
    if hasattr(report, "wasxfail"):
        return str(report.wasxfail).removeprefix("reason: ")
    if call.excinfo is None:
        return None
    value = call.excinfo.value
    text = str(getattr(value, "msg", None) or value) or type(value).__name__
    return text.splitlines()[0]
