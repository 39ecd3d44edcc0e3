"""The three ways that are compared on the same programs, and how a session is opened for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.program import CaseScores

from .answers import checked
from .reference.runner import ReferenceRunner

REFERENCE, SINGLE, AUTOMATIC = "reference", "batch_1", "automatic"
WAYS = {REFERENCE: "reference", SINGLE: "ours, batch 1", AUTOMATIC: "ours, automatic batch"}
"""Names in the figures, and in words."""


def open_session(model: str, device: str) -> EngineSession:
    """The model in float32 on every device, so that both ways compute in the same precision."""
    return EngineSession.open(EngineSettings(model, device=device, dtype="float32"))


class Ways:
    """One editor, three ways, one model object.

    Args:
        editor: an editor that the reference is written for.
    """

    def __init__(self, session: EngineSession, editor: str) -> None:
        self._session, self._editor = session, editor
        self._reference = ReferenceRunner(session, editor)

    def batch(self) -> dict[str, Any]:
        """What the automatic batch size has come to, and why."""
        found: dict[str, Any] = self._session.describe(self._editor)["batch"]
        return found

    def run(self, way: str, programs: Sequence[Program]) -> list[CaseScores]:
        """Answers in order; raises `CaseError` where a case cannot be computed."""
        if way == REFERENCE:
            return [self._reference.run(program) for program in programs]
        # The session itself cuts what it is given into batches; a single program cannot be cut.
        parts = [[program] for program in programs] if way == SINGLE else [list(programs)]
        answers = [answer for part in parts for answer in self._session.run(self._editor, part)]
        return checked(answers)
