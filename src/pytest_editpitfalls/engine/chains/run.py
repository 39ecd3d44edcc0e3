"""The state of a program while it runs: its edited models, the answers, and what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pytest_editpitfalls.engine.editing.interface import EditResult
from pytest_editpitfalls.engine.overlay import EditedModel
from pytest_editpitfalls.program import ProbeScore, Program, SuitePrograms, SuitesOf, cause_id

from .prefixes import Prefix, Steps, prefixes_of


@dataclass(eq=False)
class Run:
    """One program.

    Attributes:
        suite: that the program is from, if it is known.
        models: the edited models that its states name, by their steps.
        results: what the next steps of other models begin with; dropped as soon as none does.
    """

    program: Program
    suite: SuitePrograms | None = None
    models: dict[Steps, EditedModel] = field(default_factory=lambda: {(): ()})
    results: dict[Prefix, EditResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    probes: tuple[ProbeScore, ...] = ()
    held_parts: dict[str, bool | None] = field(default_factory=dict)
    error: str | None = None
    skipped: str | None = None

    @classmethod
    def each(cls, programs: Sequence[Program], suites: SuitesOf) -> list[Run]:
        """Return a run of each program."""
        if not isinstance(suites, Sequence):
            return [cls(program, suites) for program in programs]
        return [cls(program, suite) for program, suite in zip(programs, suites, strict=True)]

    @property
    def cause(self) -> str:
        """Whose edits these are, for `CAUSES`: cases of two suites may have one name."""
        return cause_id(self.suite, self.program.edits_id)

    @property
    def open(self) -> bool:
        return self.error is None and self.skipped is None

    @cached_property
    def _tree(self) -> tuple[Prefix, dict[Steps, Prefix]]:
        return prefixes_of(self.program.states)

    @property
    def base(self) -> Prefix:
        """The base model, from which all edited ones are reached."""
        return self._tree[0]

    @property
    def asked(self) -> dict[Steps, Prefix]:
        """The models that the states name."""
        return self._tree[1]

    def before(self, prefix: Prefix) -> EditResult:
        """What the last step of a model is written into, and what the editor left for it."""
        assert prefix.parent is not None
        return EditResult() if prefix.parent.parent is None else self.results[prefix.parent]

    def note(self, text: str) -> None:
        """Add a note, once."""
        if text not in self.notes:
            self.notes.append(text)
