"""From the directory of an edited checkpoint to the model in it, on the CPU and in the base model's precision."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models.adapters import Adapter, adapter_in
from pytest_editpitfalls.engine.models.loading import (
    check_finite,
    load_config,
    load_tokenizer,
    load_weights,
    merge_adapter,
    refuse_unless_it_fits,
)
from pytest_editpitfalls.engine.models.source import ModelSource, resolve
from pytest_editpitfalls.errors import UsageError

from .same_model import check_config, check_same_tokenizer, check_shapes

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


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


def open_edited(edited: EditedSource, base: ModelSource, host: ModelAdapter) -> Any:
    """Return the edited model, adapters merged, once all but its weights is known to be the base model's.

    Args:
        base: where ``host`` came from.

    Raises:
        UsageError: it cannot be loaded, is not the same model (config, tokenizer, shapes), does not fit into memory
            beside the base, or has NaN or infinity in it.
    """
    config = load_config(edited.source)
    if edited.adapter is None:
        check_config(host.model.config, config, edited.name, base.name)
    if _brings_tokenizer(edited):
        place = edited.source if edited.adapter is None else replace(edited.source, adapter=edited.adapter)
        check_same_tokenizer(host.tokenizer, load_tokenizer(place), edited.name, base.name)
    refuse_unless_it_fits(edited.source, config, host.dtype, torch.device("cpu"))
    model = load_weights(edited.source, config, host.dtype).requires_grad_(False)
    for adapter in (edited.source.adapter, edited.adapter):
        if adapter is not None:
            merge_adapter(model, edited.source, adapter)
    check_shapes(host.model, model, edited.name, base.name)
    check_finite(model, edited.source, None if edited.adapter is None else str(edited.adapter.directory))
    return model


def _has_weights(path: Path) -> bool:
    """Whether weights of a whole model lie there."""
    names = [*path.glob("*.safetensors"), *path.glob("*.bin"), *path.glob("*.safetensors.index.json")]
    return any(not each.name.startswith(("adapter_", "training_args")) for each in names)


def _brings_tokenizer(edited: EditedSource) -> bool:
    if edited.adapter is not None:
        return any((edited.adapter.directory / name).is_file() for name in _TOKENIZER_FILES[:2])
    directory = edited.source.path
    if edited.source.kind == "directory" and directory is not None:
        return any((directory / name).is_file() for name in _TOKENIZER_FILES)
    return True
