"""The ways that are compared on the same programs, and how a session is opened for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.program import CaseScores

from .answers import checked
from .reference.runner import ReferenceRunner

REFERENCE, SINGLE, FOUR, AUTOMATIC, ROUNDED = "reference", "batch_1", "batch_4", "automatic", "bf16_weights"
WAYS = {
    REFERENCE: "reference",
    SINGLE: "ours, batch 1",
    FOUR: "ours, batch 4",
    AUTOMATIC: "ours, automatic batch",
    ROUNDED: "the same, `bf16-weights`",
}
"""Names in the figures, and in words."""

BATCHES = {SINGLE: 1, FOUR: 4}
"""Cases of a batch where it is not the automatic one."""


def open_session(model: str, device: str, dtype: str = "float32") -> EngineSession:
    """The model in float32 on every device, so that reference and ours compute in the same precision."""
    return EngineSession.open(EngineSettings(model, device=device, dtype=dtype))


class Ways:
    """One editor, all ways, one model object (and one more in the mode `ROUNDED`).

    Args:
        editor: an editor that the reference is written for.
        rounded: a session of the same model in that mode, where it is measured.
    """

    def __init__(self, session: EngineSession, editor: str, rounded: EngineSession | None = None) -> None:
        self._session, self._editor, self._rounded = session, editor, rounded
        self._reference = ReferenceRunner(session, editor)
        if rounded is not None:
            rounded.prepare(editor)

    @property
    def known(self) -> list[str]:
        """The ways that can be measured."""
        return [way for way in WAYS if way != ROUNDED or self._rounded is not None]

    def batch(self) -> dict[str, Any]:
        """What the automatic batch size has come to, and why."""
        found: dict[str, Any] = self._session.describe(self._editor)["batch"]
        return found

    def run(self, way: str, programs: Sequence[Program]) -> list[CaseScores]:
        """Answers in order; raises `CaseError` where a case cannot be computed."""
        if way == REFERENCE:
            return [self._reference.run(program) for program in programs]
        # The session itself cuts what it is given into batches; a single program cannot be cut.
        size = BATCHES.get(way, max(1, len(programs)))
        parts = [programs[start : start + size] for start in range(0, len(programs), size)]
        session = self._rounded if way == ROUNDED and self._rounded is not None else self._session
        answers = [answer for part in parts for answer in session.run(self._editor, part)]
        return checked(answers)
