"""The hooks of a run with an editor. Each hands over to the part that does the work; see `plugin` for the rest."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest

from pytest_editpitfalls.causes import CAUSES
from pytest_editpitfalls.engine.edited_checkpoint.source import edited_source
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.kept_weights import check_before_loading
from pytest_editpitfalls.engine.editors.resolution import check_given
from pytest_editpitfalls.engine.models import check_dtype, no_tf32, resolve
from pytest_editpitfalls.errors import CaseError, PitfallsError, UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.execution.executor import ProgressListener, WorkerProgress
from pytest_editpitfalls.execution.xdist.controller import Controller, WorkerSetup, check_distribution
from pytest_editpitfalls.execution.xdist.run_directory import RunDirectory
from pytest_editpitfalls.garbage import held_back
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.editor_labels import (
    check_are_used,
    check_label,
    check_settings,
    editor_name,
    under_seeds,
    unused_settings,
)
from pytest_editpitfalls.options.reading import build
from pytest_editpitfalls.reports.formats import FORMATS
from pytest_editpitfalls.reports.header import header
from pytest_editpitfalls.reports.progress import ProgressLine
from pytest_editpitfalls.results.records import PropertyRecord

from .distribution import DistributionHooks
from .extensions import bridge_notice, register_extensions
from .finalizer import Finalizer
from .interruption import InterruptionHooks
from .item_report import case_facts
from .items import case_of, deselect_other_shards, sort_cases
from .modules import SuiteModule, collect_suites
from .notices import show
from .outcome import PitfallFailed
from .places import check_places
from .properties import check_properties, collect_properties, property_wire, shows_itself
from .reasons import ReasonHooks
from .recorder import Recorder
from .released_file import with_released
from .rerun import rerun_command
from .session import PitfallsSession
from .threads import threads_line, too_late
from .timers import seconds_per_test
from .tracebacks import WHOLE, fold_output, style_of, wanted_causes, with_cause


class SessionHooks:
    """Registered by `plugin` when an editor is given, in every process of the run.

    Raises:
        UsageError: the command line, ini or a suite is wrong; nothing has been loaded or written yet.
    """

    def __init__(self, config: pytest.Config) -> None:
        CAUSES.start(wanted_causes(config))
        run = build(config, [report.name for report in FORMATS])
        listener: ProgressListener = ProgressLine(config)
        directory, sharing = None, 1
        self.worker = WorkerSetup.of(getattr(config, "workerinput", {}))
        self.is_worker = hasattr(config, "workerinput")
        if self.worker is not None:
            self.worker.apply()  # before anybody's editor imports torch
            directory, sharing = RunDirectory(Path(self.worker.directory)), self.worker.sharing
            listener = WorkerProgress(directory, config.workerinput["workerid"])  # type: ignore[attr-defined]
        if not self.is_worker:
            check_distribution(config)
        register_extensions(config, run)
        if not self.is_worker:  # workers get what has been checked
            _check_names(run)
        run, taken = with_released(run)
        if not (self.is_worker or run.replay):
            _check_hyperparameters(run)
        run = under_seeds(run, lambda name: EDITORS.get(name).is_random)
        self.directory = directory
        self.session = PitfallsSession(config, run, listener, directory, sharing)
        config.pluginmanager.register(self.session.timers, "editpitfalls-timers")
        if not self.is_worker:
            check_places(config, self.session)
            if self.session.selection.properties:
                check_properties(self.session)
            self.session.baseline.check_complete(self.session.selection.suites)
            self.session.baseline.check_suites(self.session.suites.values())
        notices = [
            *taken,
            bridge_notice(run),
            self.session.selection.left_out,
            unused_settings(run),
            too_late(config, run),
            *self.session.selection.remarks,
        ]
        show(config, [notice for notice in notices if notice is not None])
        config.args = list(self.session.selection.paths)
        config.args_source = pytest.Config.ArgsSource.ARGS
        self.recorder = Recorder(config, self.session)
        self.finalizer = Finalizer(config, self.session, self.recorder)
        self.is_empty_shard = False
        self.controller: Controller | None = None
        if self.is_worker:
            return
        config.pluginmanager.register(ReasonHooks(config), "editpitfalls-reasons")
        count = self.session.count_stored
        if self.session.is_distributed:
            self.controller = Controller(config, run)
            count = self.controller.count_stored
            config.pluginmanager.register(self.controller, "editpitfalls-controller")
            hooks = DistributionHooks(config, self.controller, self.recorder)
            config.pluginmanager.register(hooks, "editpitfalls-distribution")
        config.pluginmanager.register(InterruptionHooks(run, count), "editpitfalls-interruption")

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what is edited, in which model."""
        selection = self.session.selection
        lines = header(self.session.run, selection.suites, seconds_per_test(config))
        if (threads := threads_line(config, self.session.run)) is not None:
            lines.append(f"pitfalls: {threads}")
        return lines if selection.added is None else [*lines, visible(f"pitfalls: {selection.added}")]

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Time the collection."""
        started = time.perf_counter()
        with held_back():
            result = yield
        if not self.session.is_distributed:
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
                report.result = [
                    *report.result,
                    *collect_suites(collector, self.session.selection),
                    *collect_properties(collector, self.session, self.session.selection),
                ]
            except PitfallsError as error:
                raise pytest.UsageError(str(error)) from None
        return report

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one item per case, editor and model."""
        self.session.parametrizer.parametrize(metafunc)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, object, object]:
        """Sort cases by model and seed; when all others have selected, keep this run's shard.

        Sorted before for those who go by places (``--stepwise``), and behind those who shuffle (pytest-randomly).
        """
        run = self.session.run
        sort_cases(items, list(run.labels.values()))
        result = yield
        sort_cases(items, list(run.labels.values()))
        if run.shard is not None:
            others = deselect_other_shards(items, run.shard)
            config.hook.pytest_deselected(items=others)
            self.is_empty_shard = bool(others) and not items
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Cut batches from the selected cases; a worker leaves the plan for the controller."""
        if session.config.option.collectonly and self.worker is None:
            return  # nothing will run
        cases = [case_of(item) for item in session.items]
        batches = self.session.runner.batches
        if self.directory is None or self.worker is None:
            batches.plan(cases)
            return
        size = self.worker.batch_size(len({case.planned for case in cases if case}), self.session.run)
        pairs = zip(session.items, cases, strict=True)
        facts = [None if case is None else case_facts(item, case) for item, case in pairs]
        self.directory.write_plan(batches.plan(cases, size), facts)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Open the first model before the first test, so that what is wrong with it is said once.

        After the last one, see whether what has been computed can be repeated.
        """
        broken = session.testsfailed and not session.config.option.continue_on_collection_errors
        if not (self.is_worker or broken or session.config.option.collectonly):
            self._check_before_tests(session)
        try:
            result = yield
        except KeyboardInterrupt:
            raise
        except BaseException:  # -x, --maxfail: what has run until then is looked at, too
            self._look_back(session)
            raise
        self._look_back(session)
        return result

    def _look_back(self, session: pytest.Session) -> None:
        """See whether what has been computed can be repeated, in this process or in the workers."""
        runner = self.session.runner
        runner.check_repeatable()
        if self.worker is not None and self.directory is not None:
            self.directory.report_unrepeatable(session.config.workerinput["workerid"], runner.unrepeatable)  # type: ignore[attr-defined]
        self.recorder.unrepeatable += runner.unrepeatable
        if self.controller is not None:
            self.recorder.unrepeatable += self.controller.directory.unrepeatable()

    def _check_before_tests(self, session: pytest.Session) -> None:
        try:
            if not self.session.is_distributed:  # where the controller collects nothing
                cases = [case for item in session.items if (case := case_of(item)) is not None]
                self.session.verdicts.check_relative_gates()
                self.session.baseline.check_selection(cases, self.session.selection.suites)
            self.session.runner.prepare()
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show our own failures without a traceback, and let the case's record travel on the report."""
        report = yield
        error = None if call.excinfo is None else call.excinfo.value
        is_ours = isinstance(error, PitfallFailed | PitfallsError) or shows_itself(item, error)
        if call.excinfo is not None and is_ours and not hasattr(report, "wasxfail"):
            report.longrepr = call.excinfo.getrepr(style="value")
            if isinstance(error, CaseError) and error.__cause__ is not None and style_of(item.config) in WHOLE:
                report.longrepr = with_cause(call.excinfo, item.config)
            if (crash := getattr(report.longrepr, "reprcrash", None)) is not None:
                # the line of the short summary and JUnit's message: under CI pytest does not shorten it
                crash.message = crash.message.partition("\n")[0]
        if (case := case_of(item)) is not None:
            if item.getparent(SuiteModule) is not None:  # what a test of the user's own prints is wanted
                fold_output(report)
            self.session.reporter.attach(item, case, report, call, self.session.usage_error)
            if report.failed and not isinstance(error, PitfallFailed):  # which ends with the command already
                report.sections.append(("rerun", rerun_command(item, case, self.session.run)))
        elif (found := property_wire(item, report)) is not None:
            report.pitfall_property = found  # type: ignore[attr-defined]
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let go what only this item needed: pytest keeps all items to the end of the run."""
        result = yield
        if (case := case_of(item)) is not None:
            self.session.reporter.forget(item)
            self.session.runner.reported(case)
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, object, object]:
        """Take the item's report, in the process that writes results; pytest's own goes on without it."""
        if self.is_worker:
            return (yield)
        if (wire := getattr(report, "pitfall", None)) is not None:
            # "rerun": an attempt that failed and is repeated, says pytest-rerunfailures
            self.recorder.add(self.session.reporter.read(wire), counts=str(report.outcome) != "rerun")
        if (found := getattr(report, "pitfall_property", None)) is not None:
            self.recorder.add_property(PropertyRecord.model_validate(found["record"]), found["usage_error"])
        result = yield
        if wire is not None:
            report.__dict__.pop("pitfall", None)  # the terminal keeps all reports
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Judge the gates, set the exit status and write the results, also after ``-x`` or Ctrl-C.

        Before all other plugins: pytest-json-report writes the exit status down.
        """
        if not self.is_worker and not session.config.option.collectonly:
            self.finalizer.finish(session, is_empty_shard=self.is_empty_shard)
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the tables, and what could not be written."""
        self.finalizer.write_summary(terminalreporter)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """End the executor's processes with the run, and say last what nobody may change or write behind."""
        self.session.executor.close()
        self.finalizer.conclude()


def _check_names(run: RunConfig) -> None:
    """Raise `UsageError` for an unknown editor, model or dtype; imports no torch."""
    known = [*EDITORS, *run.checkpoints]
    for editor in run.editors:
        check_label(editor, known, where="--pitfalls-editor")
    for source, names in (("--pitfalls-set", run.overrides), (str(run.config_path), run.config_tables)):
        for editor in names:
            check_settings(editor, known, where=source)
    check_are_used(run)
    if run.dtype is not None:
        check_dtype(run.dtype, where="--pitfalls-dtype")
    if run.dtype == "tf32" and run.device == "cpu":
        raise no_tf32(run.device)
    sources = [resolve(model, option="--model") for model in run.models]
    if not run.replay:
        edit = (editor_name(label) for label in run.editors if label not in run.checkpoints)
        check_before_loading(edit, sources, run.dtype)
    for checkpoint in () if run.replay else run.checkpoints.values():
        edited_source(checkpoint, sources[0])


def _check_hyperparameters(run: RunConfig) -> None:
    """Raise `UsageError` for an unknown hyper-parameter or a bad value; imports no torch of its own."""
    for editor in dict.fromkeys(map(editor_name, run.editors)):
        table, overrides = run.config_tables.get(editor), run.overrides.get(editor)
        if table or overrides:
            kind = EDITORS.get(editor).hyperparameter_class()
            for model in run.models:
                check_given(editor, kind, model, table, overrides, config_path=run.config_path)
