"""The models of a run, lent to tests: the base model, and the edited one of a case."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pytest_editpitfalls.errors import CaseError, UsageError
from pytest_editpitfalls.options.config import RunConfig

from .executor import Executor, ProgressListener
from .selected_case import CompiledSuites, SelectedCase
from .time_limit import BatchTimeout, time_limit, too_slow


class ModelLender:
    """Lends the models that an executor holds; ``unavailable`` says why there is no model in this process."""

    def __init__(self, run: RunConfig, executor: Executor, suites: CompiledSuites, listener: ProgressListener) -> None:
        self._limit = run.timeout
        self._listener = listener
        self._executor = executor
        self._suites = suites
        self.unavailable = executor.no_model
        if run.replay:
            self.unavailable = "a replay loads no model: run without --pitfalls-replay"

    @contextmanager
    def edited(self, case: SelectedCase, state: str | None = None) -> Iterator[Any]:
        """Give the Hugging Face model, answering as the edited one of ``state`` inside the context.

        Without a state, it is the first of those with the most edits: of a conflict, "12".

        Raises:
            UsageError: the case has no such state.
            CaseError: the edit took longer than ``--pitfalls-timeout``.
        """
        program = case.program()
        states = [known.name for known in program.states]
        state = state or max(program.states, key=lambda known: len(known.steps)).name
        if state not in states:
            raise UsageError(f"case {case.case.id} has no state '{state}'", fix=f"its states are {', '.join(states)}")
        session = self._executor.session(case.model, case.seed)
        lent = session.edited(case.engine_editor, program, state, self._suites.of(case.suite))
        with ExitStack() as stack:
            try:
                with time_limit(self._limit, f"the edit of {case.case.id}", self._listener.announce):
                    model = stack.enter_context(lent)
            except BatchTimeout:
                raise CaseError(too_slow(case.engine_editor, self._limit)) from None
            yield model
