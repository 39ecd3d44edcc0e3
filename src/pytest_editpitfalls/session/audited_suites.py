"""Which suites can be asked of a finished checkpoint: those that ask before and after one edit."""

from __future__ import annotations

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.selected_case import CompiledSuites
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.suites.suite import Suite

from .selection import Selection

_MODELS = ((), (0,))
"""The steps of the two models of an audit: the base, and the edited checkpoint, which has all edits in it."""


class AuditedSuites:
    """Looks at the suites of an audit; in a run with an editor there is nothing to look at."""

    def __init__(self, run: RunConfig, programs: CompiledSuites) -> None:
        self._run = run
        self._programs = programs

    def check_selection(self, selection: Selection) -> None:
        """Raise `UsageError` where an audit has nothing to ask, or a suite that it cannot ask."""
        if self._run.is_audit and not selection.suites and not selection.paths:
            raise UsageError(
                "nothing says which edits are in the checkpoint, so that there is nothing to ask",
                where="--pitfalls-edited",
                fix="list the edits with --pitfalls-edits=EDITS, or name a suite with --pitfalls-suite",
            )
        for suite in selection.suites:
            self.check(suite)

    def check(self, suite: Suite) -> None:
        """Raise `UsageError` for a suite with a case that asks for another model than the two of an audit."""
        if not self._run.is_audit:
            return
        states = {
            state.name
            for program in self._programs.of(suite).programs
            for state in program.states
            if state.steps not in _MODELS
        }
        if states:
            raise UsageError(
                f"'{suite.name}' asks for states that an edited checkpoint has not ({', '.join(sorted(states))}): "
                "its cases make a second edit",
                where=f"suite '{suite.name}' ({suite.source})",
                fix="take suites whose cases ask before and after one edit, as those of --pitfalls-edits=EDITS do",
            )
