"""What an editor is. Torch-free, so that editors can be listed and compared without loading one."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.editing.templates import PromptForm
    from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters

    from .interface import Editor, EditorResources

Form = Literal["low-rank", "dense", "hook", "prefix", "in place", "checkpoint"]
"""What an edit is: low-rank deltas, whole matrices, a module's output changed by rule, text before the prompt, anything
done to the model object, or a finished checkpoint, which no editor here has made."""

SeveralTargets = Literal["together", "averaged", "one after another"]
"""What becomes of several targets of one subject and relation (Multi-Label Edit): solved for together, their losses
averaged, or written one after another, so that the last one wins."""

AfterNorm = Literal["any", "replayed", "refused"]
"""Families with a norm after the MLP (Gemma 2 and 3, post-norm OPT): no difference, the norm is replayed with the
target vector before it, or refused by name."""

Experts = Literal["any", "attention only", "the whole MLP", "a named module", "refused"]
"""Models whose MLPs are mixtures of experts, which have no one down-projection: no difference, an edit of another part
of the block, of a part that a hyper-parameter names, or refused by name."""

NOTHING = "nothing"


@dataclass(frozen=True)
class EditorDeclaration:
    """One editor.

    Attributes:
        name: what ``--editor`` calls it ("rome").
        title: its name in the field ("ROME").
        source: paper and released code that it follows.
        form: what its edits are.
        writes: which matrices or modules, in words.
        keeps: what it keeps for the case's next edit besides the edited model, in words.
        targets: what it does with several targets at once.
        after_norm: families with a norm after the MLP.
        experts: models whose MLPs are mixtures of experts.
        second_moment: whether it needs second moments of the keys.
        whole_matrices: whether an edit keeps whole matrices, so that memory bounds the batch.
        prompts: "template" where it means to tokenise prompts with their ``{}``; otherwise that fails the case.
        suite: whether an edit takes something from the other cases of the suite: its result depends on them.
        needs: what it needs besides the model, in words ("a trained network").
        training: trains its network, as ``"module:Class"`` (`engine.hypernetworks.loop.TrainingRun`): what
            ``editpitfalls train-NAME`` runs; None where it has none.
        draws: what it draws at random, in words; `NOTHING` where all seeds give the same, so that one is enough.
        hyperparameters: class of its hyper-parameters, or ``"module:Class"``.
        factory: makes the editor from (hyper-parameters, resources), or ``"module:Class"``.
        violates: properties of editors that it is known not to have -> why (docs/properties.md).
        epsilon: property -> how far log-probabilities may be apart, in nats, where it is not the usual.
        restores: whether writing the old object back gives the unedited model, exactly.
        needs_plain_weights: why the model's own weights have to be there as plain numbers, in words (it writes to
            them); empty where the inputs and outputs of modules are enough, so that quantised weights will do.
        needs_one_device: why the model cannot lie on several devices, in words; empty where it can.
        order: place of a shipped editor in lists, lowest first.
    """

    name: str
    title: str
    source: str
    form: Form
    writes: str
    hyperparameters: type[Hyperparameters] | str
    factory: Callable[[Any, EditorResources], Editor] | str
    keeps: str = "nothing"
    targets: SeveralTargets = "together"
    after_norm: AfterNorm = "any"
    experts: Experts = "any"
    second_moment: bool = False
    whole_matrices: bool = False
    suite: bool = False
    prompts: PromptForm | None = None
    needs: str = "nothing"
    training: str | None = None
    draws: str = "not said"
    violates: Mapping[str, str] = field(default_factory=dict)
    epsilon: Mapping[str, float] = field(default_factory=dict)
    restores: bool = False
    needs_plain_weights: str = ""
    needs_one_device: str = ""
    order: int = 0

    @property
    def is_random(self) -> bool:
        """Whether its results may depend on the seed; an editor that does not say may."""
        return self.draws != NOTHING

    def hyperparameter_class(self) -> type[Hyperparameters]:
        """The class of its hyper-parameters, imported where it is given by name. Torch-free for shipped editors."""
        kind: type[Hyperparameters] = _loaded(self.hyperparameters)
        return kind

    def make(self, hyperparameters: Hyperparameters, resources: EditorResources) -> Editor:
        """The editor itself; imports torch."""
        editor: Editor = _loaded(self.factory)(hyperparameters, resources)
        return editor

    def training_class(self) -> type[Any]:
        """The class that trains its network; imports torch. Only where `training` names one."""
        kind: type[Any] = _loaded(self.training)
        return kind


def _loaded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    module, _, attribute = value.partition(":")
    return getattr(importlib.import_module(module), attribute)
