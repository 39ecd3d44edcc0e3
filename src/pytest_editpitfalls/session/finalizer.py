"""The end of a run: the comparison with the baseline, the exit status, and everything that is written."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_editpitfalls.errors import PitfallsError, UsageError
from pytest_editpitfalls.reports.formats import FORMATS

from .recorder import Recorder
from .session import RunState

if TYPE_CHECKING:
    from pytest_editpitfalls.results.records import RunResults


class Finish:
    """What happens once, in the process that the user started, when the last test has run.

    Args:
        config: pytest's configuration.
        state: the run.
        recorder: what the items reported.

    Attributes:
        problems: what could not be written or compared, for the summary (an exception here would suppress it).
        remarks: what else could not be done; the run is none the worse for it.
        saved: the baselines that were written.
    """

    def __init__(self, config: pytest.Config, state: RunState, recorder: Recorder) -> None:
        self._config = config
        self._state = state
        self._recorder = recorder
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.saved: list[Path] = []

    def __call__(self, session: pytest.Session, *, empty_shard: bool) -> None:
        """Judge, set the exit status and write the reports, also after ``-x`` or Ctrl-C."""
        results = self._recorder.results()
        part = None if self._state.run.shard is None else f"shard {self._state.run.shard}"
        if results.cases:
            self._try(lambda: self._state.against.judge(results, self._state.suites.values(), part))
        if self.problems or self._recorder.usage_error is not None:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif session.exitstatus == pytest.ExitCode.OK and self._state.gates_fail(
            results, self._recorder.part_of
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and empty_shard:
            session.exitstatus = pytest.ExitCode.OK  # more shards than cases
        results = self._recorder.results(int(session.exitstatus))
        self._config.hook.pytest_pitfalls_results(config=self._config, results=results)
        before = len(self.problems)
        if results.cases or results.run.exit_status != pytest.ExitCode.USAGE_ERROR:
            self._write(results)
        if len(self.problems) > before:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _write(self, results: RunResults) -> None:
        run = self._state.run
        if run.save is not None or run.update_baseline:
            self._try(lambda: self.saved.extend(self._state.against.save(results)))
        for report in FORMATS:
            if (path := run.report_paths.get(report.name)) is not None:
                self._try(partial(report.write, results, path, report.option))
        if os.environ.get("GITHUB_STEP_SUMMARY"):
            from pytest_editpitfalls.reports.github import add_step_summary

            if (remark := add_step_summary(results)) is not None:
                self.remarks.append(remark)
        if self._config.getoption("xmlpath", None):
            from pytest_editpitfalls.reports.junit import add_run_properties

            add_run_properties(self._config, results)

    def _try(self, write: Callable[[], object]) -> None:
        try:
            write()
        except PitfallsError as error:
            self.problems.append(str(error))


def check_paths(state: RunState) -> None:
    """Find out before the run whether its reports can be written; raises `UsageError`."""
    from pytest_editpitfalls.results.writer import check_writable

    run = state.run
    for report in FORMATS:
        if (path := run.report_paths.get(report.name)) is not None:
            check_writable(path, where=report.option)
    if run.save is not None and run.save == run.baseline and not run.update_baseline:
        raise UsageError(
            "the baseline would be written over",
            where="--pitfalls-save",
            fix="say so with --pitfalls-update-baseline, or give another name",
        )
