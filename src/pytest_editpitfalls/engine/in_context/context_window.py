"""How much text fits before a prompt."""

from __future__ import annotations

from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import Program

UNKNOWN_ROOM = 64
"""Tokens left for prompt and target where the case's prompts are not known."""

JOINT = 4
"""Tokens that joining prefix and prompt may add."""


class Window:
    """The model's context window.

    Attributes:
        size: tokens that a row may have; None where the configuration names no limit.
    """

    def __init__(self, host: ModelAdapter) -> None:
        self._encoder = host.encoder
        size = getattr(host.model.config, "max_position_embeddings", None)
        self.size: int | None = size if isinstance(size, int) and size > 0 else None

    def room(self, program: Program | None) -> int:
        """Tokens of the longest prompt and target that the case asks."""
        if program is None or not program.probes:
            return UNKNOWN_ROOM
        return JOINT + max(
            len(self._encoder.prompt(text)) + len(self._encoder.target(probe.target))
            for probe in program.probes
            for text in probe.prompts
        )

    def fits(self, text: str, program: Program | None) -> bool:
        """Whether every prompt of the case fits behind ``text``."""
        return self.size is None or len(self._encoder.prompt(text)) + self.room(program) <= self.size

    def check(self, text: str, program: Program | None) -> None:
        """Raise `CaseError` where it does not fit."""
        if not self.fits(text, program):
            raise CaseError(
                f"the facts take {len(self._encoder.prompt(text))} tokens and the longest prompt "
                f"{self.room(program)}, but the model's context window has {self.size}",
                fix="use a model with a longer context window, or shorter facts",
            )
