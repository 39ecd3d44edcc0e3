"""What an editor is to the engine: jobs in, edited models out; a batch of independent cases at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import EditedModel
from pytest_editpitfalls.engine.settings import EngineSettings, ProgressCallback, silent
from pytest_editpitfalls.program import EditRequest, SuitePrograms, cause_id

V = TypeVar("V", bound=Hyperparameters)


@dataclass(frozen=True)
class EditJob:
    """One step of one case: write ``requests`` together into the edited model ``model``.

    Attributes:
        case_id: the case, for messages and as the seed of draws; one name for cases that share their edits.
        step: 1-based number of the step, for messages.
        requests: edits that are written together.
        model: the edited model as it stands before this step; empty is the base model.
        state: what the editor itself left for this case in the step before (`EditResult.state`); None at the
            first. Whatever an editor keeps between two edits belongs here and nowhere else.
        suite: all cases of the suite that this one is from, for editors that take demonstrations from others.
    """

    case_id: str
    step: int
    requests: tuple[EditRequest, ...]
    model: EditedModel = ()
    state: Any = None
    suite: SuitePrograms | None = None

    @property
    def cause(self) -> str:
        """Whose edits these are, where causes of errors are kept."""
        return cause_id(self.suite, self.case_id)


@dataclass(frozen=True)
class EditResult:
    """The edited model after a step, or why it could not be written.

    Attributes:
        model: the whole edited model after the step: usually the job's own and a new change behind it.
        state: what the editor gets back in the case's next step.
        notes: remarks for the case's record.
        error: why this case cannot go on; None if it can.
    """

    model: EditedModel = ()
    state: Any = None
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass
class EditorResources:
    """What the engine lends to an editor.

    Attributes:
        host: the base model.
        forward: runs parts of it.
        second_moments: where C comes from.
        settings: the run's settings (seed, device, ...).
        max_tokens: padded tokens that one forward pass may have; it may change between two batches.
    """

    host: ModelAdapter
    forward: Forward
    second_moments: SecondMoments
    settings: EngineSettings
    max_tokens: int


class Editor(Protocol):
    """A batched editor: independent cases in, edited models out; it never writes a weight."""

    name: str

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Compute what all cases share (templates, second moments)."""

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests; results in the jobs' order. Jobs do not influence one another."""

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters and the sources of everything used, as plain JSON types."""


class ShippedEditor(Generic[V]):
    """What all editors that ship have in common.

    Args:
        hyperparameters: validated values.
        resources: model, second moments and settings.

    Attributes:
        name: what ``--editor`` calls it.
    """

    name: ClassVar[str]

    def __init__(self, hyperparameters: V, resources: EditorResources) -> None:
        self._hp, self._resources, self._host = hyperparameters, resources, resources.host

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Nothing is shared by cases unless an editor says so."""

    def weights(self) -> tuple[str, ...] | None:
        """The modules whose matrix or output it may change; none where it writes text before the prompt."""
        return ()

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters; an editor adds what else it used."""
        return {"editor": self.name, "hyperparameters": self._hp.model_dump(mode="json")}


@runtime_checkable
class SaysWhatItWrites(Protocol):
    """An editor that says what of the model it may change."""

    def weights(self) -> tuple[str, ...] | None:
        """Full names of modules or parameters, ``*`` for anything; what is below one belongs to it. None: not said."""


@runtime_checkable
class KeepsState(Protocol):
    """An editor that keeps something between calls besides `EditResult.state`, and can forget it."""

    def reset(self) -> None:
        """Forget it: the next edit starts at the unedited model."""


@runtime_checkable
class WritesModel(Protocol):
    """An editor that is lent the model object itself, and checks that it was left as it was."""

    def verify(self) -> str | None:
        """What was wrong with the base model since the last edit, now put right; None if nothing was.

        It is called when the edited models have been scored: a write between an edit and its scoring makes the
        scores wrong.

        Raises:
            UsageError: it cannot be put right.
        """
