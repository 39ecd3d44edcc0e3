"""From the directory of an edited checkpoint to the model in it, on the CPU and in the base model's precision."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models.loading import (
    check_finite,
    load_config,
    load_merged,
    load_tokenizer,
    refuse_unless_it_fits,
)
from pytest_editpitfalls.engine.models.quantising import described
from pytest_editpitfalls.engine.models.source import ModelSource
from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError

from .same_model import check_config, check_same_tokenizer, check_shapes
from .source import EditedSource

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json")


def open_edited(edited: EditedSource, base: ModelSource, host: ModelAdapter) -> Any:
    """Return the edited model, adapters merged, once all but its weights is known to be the base model's.

    Args:
        base: where ``host`` came from.

    Raises:
        UsageError: it cannot be loaded, is not the same model (config, tokenizer, shapes), does not fit into memory
            beside the base, is quantised, or has NaN or infinity in it.
    """
    config = load_config(edited.source)
    if (quantisation := described(config)) is not None:
        raise UsageError(
            f"its weights are quantised ({quantisation}), and an audit compares plain ones",
            where=f"--edited={edited.name}",
            fix="save the edited model before it is quantised, and audit that",
        )
    if edited.adapter is None:
        check_config(host.model.config, config, edited.name, base.name)
    if _brings_tokenizer(edited):
        place = edited.source if edited.adapter is None else replace(edited.source, adapter=edited.adapter)
        check_same_tokenizer(host.tokenizer, load_tokenizer(place), edited.name, base.name)
    refuse_unless_it_fits(edited.source, config, host.dtype, "cpu")
    adapters = [adapter for adapter in (edited.source.adapter, edited.adapter) if adapter is not None]
    bf16_weights = host.precision == BF16_WEIGHTS
    model = load_merged(edited.source, config, host.dtype, adapters, bf16_weights=bf16_weights).requires_grad_(False)
    check_shapes(host.model, model, edited.name, base.name)
    check_finite(model, edited.source, None if edited.adapter is None else str(edited.adapter.directory))
    return model


def _brings_tokenizer(edited: EditedSource) -> bool:
    if edited.adapter is not None:
        return any((edited.adapter.directory / name).is_file() for name in _TOKENIZER_FILES[:2])
    directory = edited.source.path
    if edited.source.kind == "directory" and directory is not None:
        return any((directory / name).is_file() for name in _TOKENIZER_FILES)
    return True
