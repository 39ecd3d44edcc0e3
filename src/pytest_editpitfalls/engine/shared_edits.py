"""Edits that several programs share: a whole list in one step is written once, not once for each of its cases."""

from __future__ import annotations

from pytest_editpitfalls.program import Program

from .editing.interface import EditResult

Steps = tuple[int, ...]


class SharedEdits:
    """The edited models that the programs of a run share (`Program.shared`), by their steps: those of the last name."""

    def __init__(self) -> None:
        self._name = ""
        self._results: dict[Steps, EditResult] = {}

    def get(self, program: Program, steps: Steps) -> EditResult | None:
        """Return what was computed for another program with these edits, if anything was."""
        return self._results.get(steps) if program.shared and program.shared == self._name else None

    def keep(self, program: Program, steps: Steps, result: EditResult) -> None:
        """Keep a result for the programs that share it; one that failed is tried again."""
        if program.shared and result.error is None:
            if program.shared != self._name:
                self._name, self._results = program.shared, {}
            self._results[steps] = result
