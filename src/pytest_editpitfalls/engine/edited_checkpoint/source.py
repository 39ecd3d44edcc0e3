"""What an edited checkpoint is, by its name: a whole model, or an adapter for the base. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_editpitfalls.engine.models.adapters import Adapter, adapter_in
from pytest_editpitfalls.engine.models.source import ModelSource, resolve
from pytest_editpitfalls.errors import UsageError


@dataclass(frozen=True)
class EditedSource:
    """Where the edited weights are.

    Attributes:
        name: as it was typed.
        source: what is loaded: a whole model, or the base model once more.
        adapter: what is merged into the base model; None where the checkpoint has all weights.
    """

    name: str
    source: ModelSource
    adapter: Adapter | None = None

    @property
    def form(self) -> Literal["checkpoint", "LoRA adapter"]:
        return "checkpoint" if self.adapter is None else "LoRA adapter"


def edited_source(name: str, base: ModelSource) -> EditedSource:
    """Find out what an edited checkpoint is, reading no weight.

    Raises:
        UsageError: there is no such directory, it holds no model and no adapter, an adapter is of a kind that is not
            merged, or it is the base model itself.
    """
    where = f"--edited={name}"
    path = Path(name)
    if path.is_dir():
        if base.path is not None and base.path.resolve() == path.resolve():
            raise UsageError(
                "the edited checkpoint and the base are one directory",
                where=where,
                fix="name the model before the edits with --base",
            )
        adapter = adapter_in(path)
        if adapter is not None and not _has_weights(path):
            return EditedSource(name, base, adapter)
        if not (path / "config.json").is_file() and _has_weights(path):
            raise UsageError(
                "the directory has weights and no config.json",
                where=where,
                fix="save the edited model with save_pretrained, or copy config.json from its base",
            )
    try:
        source = resolve(name)
    except UsageError as error:
        raise UsageError(
            error.what,
            where=where,
            fix="name the directory that save_pretrained has written: a whole model, or a LoRA adapter",
        ) from None
    return EditedSource(name, source)


def _has_weights(path: Path) -> bool:
    """Whether weights of a whole model lie there."""
    # An adapter, an optimiser and training arguments may lie there as well.
    return any(any(path.glob(name)) for name in ("model*.safetensors", "model*.index.json", "pytorch_model*.bin"))
