"""What stands in the place of an editor where a finished checkpoint is audited. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_editpitfalls.engine.editing.declaration import NOTHING, EditorDeclaration
from pytest_editpitfalls.engine.models.source import sanitised

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.editing.interface import Editor, EditorResources
    from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters

PREFIX = "edited:"
"""Begins the label of an edited checkpoint; no editor's name has a colon."""


def checkpoint_labels(checkpoints: tuple[str, ...]) -> dict[str, str]:
    """Label of each edited checkpoint -> the checkpoint as it was typed; equal names get a number."""
    labels: dict[str, str] = {}
    for checkpoint in checkpoints:
        name = sanitised(checkpoint.replace("\\", "/").rstrip("/").rpartition("/")[2])
        label, number = f"{PREFIX}{name}", 2
        while label in labels:
            label, number = f"{PREFIX}{name}-{number}", number + 1
        labels[label] = checkpoint
    return labels


def checkpoint_declaration(label: str, checkpoint: str) -> EditorDeclaration:
    """The declaration of one edited checkpoint.

    Args:
        checkpoint: a directory, or another name of a model.
    """

    def make(_: Hyperparameters, resources: EditorResources) -> Editor:
        from .editor import EditedCheckpoint  # with it comes torch

        return EditedCheckpoint.open(label, checkpoint, resources)

    return EditorDeclaration(
        name=label,
        title=label,
        source=checkpoint,
        form="checkpoint",
        writes="whatever differs from the base model",
        draws=NOTHING,
        needs_plain_weights="an audit compares the weights of two checkpoints, and exchanges them",
        needs_one_device="an audit exchanges whole weights of a model that is on one device",
        hyperparameters=f"{__package__}.hyperparameters:NoHyperparameters",
        factory=make,
    )
