"""A model is data here: no pickled weights, no code of its repository, no file outside of its directory. Torch-free."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import read_bounded

from .checkpoint import INDEX, SINGLE

MAX_BLOCKS = 10_000
_SUFFIX = ".safetensors"


def check_directory(directory: Path, where: str) -> None:
    """Look at a checkpoint directory before anything in it is loaded.

    Raises:
        UsageError: its weights are pickled, or its index names files that are not safetensors beside it.
    """
    index = directory / INDEX
    if index.is_file() and not (directory / SINGLE).is_file():
        names = _shards(index)
    else:
        names = {path.name for path in directory.glob(f"*{_SUFFIX}")}
        if not names and any(directory.glob("*.bin")):
            raise pickled(where, str(directory))
    for name in names:
        if not name.endswith(_SUFFIX) or Path(name).name != name or "\\" in name:
            raise UsageError(
                f"'{name}' is no {_SUFFIX} file beside the index",
                where=str(index),
                fix="use a checkpoint that save_pretrained has written",
            )


def pickled(where: str, place: str) -> UsageError:
    """The refusal of a checkpoint in PyTorch's old format, and how to convert it."""
    return UsageError(
        "its weights are pickled (.bin), and a pickle can run code when it is loaded",
        where=where,
        fix="if you trust it, convert it once: "
        'python -c "from transformers import AutoModelForCausalLM, AutoTokenizer; '
        f"[kind.from_pretrained('{place}').save_pretrained('DIRECTORY') "
        'for kind in (AutoModelForCausalLM, AutoTokenizer)]", and give DIRECTORY as the model',
    )


def check_config(config: Any, where: str, place: str) -> None:
    """Refuse a config that asks for pickled weights, for attention code of a repository, or for endless blocks.

    Raises:
        UsageError: the config asks for one of these.
    """
    for name in getattr(config, "sub_configs", ()):  # the parts of a model that takes images, too
        if (part := getattr(config, name, None)) is not None:
            check_config(part, where, place)
    blocks = getattr(config, "num_hidden_layers", None)
    if isinstance(blocks, int) and blocks > MAX_BLOCKS:
        raise UsageError(
            f"its config says {blocks} blocks, more than {MAX_BLOCKS}", where=where, fix="correct config.json"
        )
    weights = getattr(config, "transformers_weights", None)
    if weights is not None and not str(weights).endswith((_SUFFIX, f"{_SUFFIX}.index.json")):
        raise pickled(where, place)
    attention = getattr(config, "_attn_implementation", None)
    if "/" in str(attention or ""):
        raise UsageError(
            f"its config asks for the attention code '{attention}' of a repository, which is not run",
            where=where,
            fix="take attn_implementation out of config.json",
        )


def _shards(index: Path) -> set[str]:
    try:
        return {str(name) for name in json.loads(read_bounded(index))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"the index of the weights is damaged: {error!r}", where=str(index), fix="fetch the file again"
        ) from None
