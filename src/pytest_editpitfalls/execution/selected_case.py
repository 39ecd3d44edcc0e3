"""One selected case: what one item of a run is about."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.options.editor_labels import editor_name, is_multi_label, seed_of
from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.program import Program, SuitePrograms
from pytest_editpitfalls.suites.suite import Suite

from .planning import PlannedCase


@dataclass(frozen=True, slots=True)
class SelectedCase:
    """A case with the editor and model that it is run with: the value that ``pitfall_case`` is parametrized with."""

    suite: Suite
    case: Case
    planned: PlannedCase

    @property
    def index(self) -> int:
        """The case's place in the suite, counted from 0."""
        return self.planned.index

    @property
    def editor(self) -> str:
        """Label of the editor ("memit", "memit+mle", "memit+seed1")."""
        return self.planned.group.editor

    @property
    def model(self) -> str:
        """Label of the model."""
        return self.planned.group.model

    @property
    def engine_editor(self) -> str:
        """What the engine calls the editor: its name without ``+mle`` and the like."""
        return editor_name(self.editor)

    @property
    def seed(self) -> int | None:
        """The seed that the editor draws under; None: that of the run."""
        return seed_of(self.editor)

    @property
    def id(self) -> str:
        """What stands between the brackets of the node id."""
        return f"{self.editor}-{self.model}-{self.case.id}"

    def program(self) -> Program:
        """Return what the engine runs for the case, with this editor."""
        return compile_case(self.case, multi_label=is_multi_label(self.editor))


class CompiledSuites:
    """The programs of whole suites, whatever was selected.

    What an editor takes from its suite must not depend on ``-k``.
    """

    def __init__(self) -> None:
        self._programs: dict[str, SuitePrograms] = {}

    def of(self, suite: Suite) -> SuitePrograms:
        """Return the programs of all cases of ``suite``, the same object every time."""
        if suite.name not in self._programs:
            self._programs[suite.name] = SuitePrograms(suite.name, lambda: [compile_case(case) for case in suite.cases])
        return self._programs[suite.name]
