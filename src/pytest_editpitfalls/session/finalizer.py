"""The end of a run: the comparison with the baseline, the exit status, and everything that is written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pytest_editpitfalls.errors import PitfallsError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.outputs import is_standard_output
from pytest_editpitfalls.reports.formats import FORMATS
from pytest_editpitfalls.reports.github import add_step_summary, gate_annotations
from pytest_editpitfalls.reports.junit import add_run_properties
from pytest_editpitfalls.reports.view.properties import property_tables
from pytest_editpitfalls.reports.view.verdicts import AnyGate, line_of, reason_lines
from pytest_editpitfalls.results.records import RunResults

from .recorder import Recorder
from .session import PitfallsSession


class Finalizer:
    """What happens once, in the process that the user started, when the last test has run.

    Attributes:
        problems: what could not be written or compared, for the summary (an exception here would suppress it).
        remarks: what else could not be done, without harm to the run.
        saved: the baselines that were written.
        written: the reports that were: name of the format -> file.
    """

    def __init__(self, config: pytest.Config, session: PitfallsSession, recorder: Recorder) -> None:
        self._config = config
        self._session = session
        self._recorder = recorder
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.saved: list[Path] = []
        self.written: dict[str, Path] = {}
        self._failing: list[AnyGate] = []
        self._last: list[Callable[[], object]] = []
        self._pytest_session: pytest.Session | None = None
        self._status: pytest.ExitCode | None = None
        self._is_told = self._is_without_cases = False

    def finish(self, session: pytest.Session, *, is_empty_shard: bool) -> None:
        """Judge, set the exit status and write the reports, also after ``-x`` or Ctrl-C."""
        ours, recorder = self._session, self._recorder
        self._pytest_session = session
        self.problems += [str(each) for each in recorder.unrepeatable]
        results = recorder.results()
        is_good = session.exitstatus == pytest.ExitCode.OK
        is_empty = not results.cases and not results.properties
        self._is_without_cases = is_good and is_empty and ours.run.shard is None
        part = None if ours.run.shard is None else f"shard {ours.run.shard}"
        if results.cases:
            self._try(lambda: self._compare(results, part))
        self._failing = ours.verdicts.failing(results, recorder.part_of)
        if self.problems or recorder.usage_error is not None:
            self._end_with(pytest.ExitCode.USAGE_ERROR)
        elif (self._failing or results.reasons) and session.exitstatus in {
            pytest.ExitCode.OK,
            pytest.ExitCode.TESTS_FAILED,
        }:
            self._end_with(pytest.ExitCode.TESTS_FAILED)
        elif session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and is_empty_shard:
            session.exitstatus = pytest.ExitCode.OK  # more shards than cases
        results.run.exit_status = int(session.exitstatus)
        self._config.hook.pytest_pitfalls_results(config=self._config, results=results)
        before = len(self.problems)
        if results.cases or results.properties or results.run.exit_status != pytest.ExitCode.USAGE_ERROR:
            self._write(results)
        if len(self.problems) > before:
            self._end_with(pytest.ExitCode.USAGE_ERROR)

    def write_summary(self, reporter: pytest.TerminalReporter) -> None:
        """Print the tables, what was saved and what could not be written; with ``--no-summary`` what failed the run."""
        recorder, self._is_told = self._recorder, True
        if reporter.config.getoption("no_summary"):
            from pytest_editpitfalls.reports.terminal import write_lines  # imports rich

            write_lines(reporter, self._verdicts())
        elif recorder.reports:
            from pytest_editpitfalls.reports.terminal import write_summary

            write_summary(reporter, recorder.results(), summed=self._session.is_distributed)
        elif self._is_without_cases:
            line = "no case ran: no selected test asks for one; --pitfalls-suite=default adds the suites"
            reporter.write_line(f"pitfalls: {line}", yellow=True)
        for table in property_tables(recorder.results().properties):
            reporter.write_line(f"pitfalls: {table.line}")
        for path in self.saved:
            reporter.write_line(f"pitfalls: baseline saved to {_from_here(path)}")
        if reporter.config.get_verbosity() >= 0:
            for name, path in self.written.items():
                reporter.write_line(f"pitfalls: {name} written to {_from_here(path)}")
        if recorder.store_problem is not None:
            reporter.write_line(f"WARNING: the store is incomplete: {recorder.store_problem}", yellow=True)
        for remark in self.remarks:
            reporter.write_line(f"WARNING: {remark}", yellow=True)
        for problem in self.problems:
            reporter.write_line(f"ERROR: {problem}", red=True)
        if recorder.reports or recorder.properties:
            for annotation in gate_annotations(recorder.results()):
                reporter.write_line(annotation)

    def conclude(self) -> None:
        """Do what comes behind all other plugins: keep the exit status, give its reason, fill standard output.

        Plugins change the exit status when the session is finished: one that combines its own with ours by ``|``
        would make "no tests collected" (5) of a usage error (4).
        """
        session = self._pytest_session
        if session is None:
            return
        if not self._is_told:
            self._tell()
        for write in self._last:
            before = len(self.problems)
            self._try(write)
            for problem in self.problems[before:]:
                self._end_with(pytest.ExitCode.USAGE_ERROR)
                print(f"ERROR: {problem}", file=sys.stderr)
        if self._status is not None:
            session.exitstatus = self._status

    def _tell(self) -> None:
        """Say why the run failed where pytest has asked for no summary.

        It does not after an internal error, without a terminal, and before pytest 9 with ``--no-summary``.
        """
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and reporter.config.getoption("no_summary"):
            self.write_summary(reporter)
            return
        for line in (*self._verdicts(), *(f"ERROR: {problem}" for problem in self.problems)):
            print(line, file=sys.stderr)

    def _verdicts(self) -> list[str]:
        """Return what made the run fail, in words, beside the tests."""
        reasons = [*reason_lines(self._recorder.results()), *map(line_of, self._failing)]
        if self._recorder.usage_error is not None:
            reasons.append(f"ERROR: {self._recorder.usage_error}")
        return reasons

    def _compare(self, results: RunResults, part: str | None) -> None:
        ours = self._session
        comparison = ours.baseline.judge(results, ours.suites.values(), part)
        if comparison is not None:
            results.reasons = ours.verdicts.reasons(results, comparison)

    def _end_with(self, status: pytest.ExitCode) -> None:
        assert self._pytest_session is not None
        self._pytest_session.exitstatus = self._status = status

    def _write(self, results: RunResults) -> None:
        run = self._session.run
        if (run.save is not None or run.update_baseline) and not self._recorder.unrepeatable:
            self._try(lambda: self.saved.extend(self._session.baseline.save(results)))
        for report in FORMATS:
            if (path := run.report_paths.get(report.name)) is not None:
                write = partial(report.write, results, path, report.option)
                if is_standard_output(path):
                    self._last.append(write)  # behind pytest's own lines
                elif self._try(write):
                    self.written[report.name] = path
        if os.environ.get("GITHUB_STEP_SUMMARY") and (remark := add_step_summary(results)) is not None:
            self.remarks.append(remark)
        if self._config.getoption("xmlpath", None):
            add_run_properties(self._config, results)

    def _try(self, write: Callable[[], object]) -> bool:
        try:
            write()
        except PitfallsError as error:
            self.problems.append(str(error))
            return False
        return True


def _from_here(path: Path) -> str:
    """Return a path as it is reached from here, where it is below; what a terminal might obey is escaped."""
    path = path.absolute()
    return visible(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))
