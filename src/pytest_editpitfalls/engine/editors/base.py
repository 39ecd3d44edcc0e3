"""What an editor is to the engine: jobs in, deltas out; a batch of independent cases at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_editpitfalls.cases.program import EditRequest
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.host import Host
from pytest_editpitfalls.engine.overlay import Deltas
from pytest_editpitfalls.engine.settings import EngineSettings, ProgressCallback, silent
from pytest_editpitfalls.engine.statistics import SecondMoments


@dataclass(frozen=True)
class EditJob:
    """One step of one case: write ``requests`` together into the base model plus ``deltas``.

    Attributes:
        case_id: the case, for messages.
        step: 1-based number of the step, for messages.
        requests: edits that are written together.
        deltas: the edited model as it stands before this step.
    """

    case_id: str
    step: int
    requests: tuple[EditRequest, ...]
    deltas: Deltas = ()


@dataclass(frozen=True)
class EditResult:
    """What a step adds to the edited model, or why it could not be written.

    Attributes:
        deltas: the new deltas only (the job's own come before them).
        notes: remarks for the case's record.
        error: why this case cannot go on, else None.
    """

    deltas: Deltas = ()
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class EditorResources:
    """What the engine lends to an editor.

    Attributes:
        host: the base model.
        forward: runs parts of it.
        second_moments: where C comes from.
        settings: the run's settings (seed, device, ...).
        max_tokens: padded tokens that one forward pass may have.
    """

    host: Host
    forward: Forward
    second_moments: SecondMoments
    settings: EngineSettings
    max_tokens: int


class Editor(Protocol):
    """A batched editor: independent cases in, low-rank deltas out; it never writes a weight."""

    name: str

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Compute what all cases share (templates, second moments)."""

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests; results in the jobs' order. Jobs do not influence one another."""

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters and the sources of everything used, as plain JSON types."""
