"""LoRA adapters (Hu et al. 2021, arXiv 2106.09685): found beside or instead of a config, and merged into the weights.

transformers applies an adapter that lies beside ``config.json`` where peft is installed, and passes over it where it
is not. Here it is merged in either case, by the arithmetic of peft's ``merge_and_unload``: W + scale * B A, with A and
B in float32 at the least. What takes more than that (DoRA, PiSSA, other methods than LoRA) is refused by name. torch is
imported inside the functions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import read_bounded

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_PREFIX = "base_model.model."

_MERGED = frozenset({"peft_type", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "modules_to_save"})

_IDLE = frozenset(
    {"base_model_name_or_path", "revision", "task_type", "auto_mapping", "peft_version", "inference_mode", "eva_config"}
    | {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "lora_dropout", "bias"}
    | {"fan_in_fan_out", "init_lora_weights", "megatron_core", "qalora_group_size"}
)
"""Entries that say nothing which the weights' names, their modules' types or the base model do not say."""

_PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of ``init_lora_weights`` with which the base model stays as it is."""

_FACTORS = {"lora_A.weight": "lora_B.weight", "lora_embedding_A": "lora_embedding_B"}


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter.

    Attributes:
        directory: where its config and weights are.
        config: ``adapter_config.json``.
    """

    directory: Path
    config: Mapping[str, Any]

    @property
    def base(self) -> str:
        """What it was trained on: a path or an id."""
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def revision(self) -> str | None:
        return self.config.get("revision") or None

    def scale(self, module: str, rank: int) -> float:
        """alpha / r, or alpha / sqrt(r), with the alpha of that module."""
        alpha = float(self._for(module, "alpha_pattern", "lora_alpha", 8))
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def rank(self, module: str) -> int:
        """The rank that the config says."""
        return int(self._for(module, "rank_pattern", "r", 8))

    def _for(self, module: str, pattern: str, default: str, otherwise: int) -> Any:
        values = self.config.get(pattern) or {}
        matching = (key for key in values if re.match(rf"(.*\.)?({key})$", module))
        return values[key] if (key := next(matching, None)) is not None else self.config.get(default, otherwise)


def adapter_in(directory: Path) -> Adapter | None:
    """The adapter of a directory; None where it holds none.

    Raises:
        UsageError: it is damaged, or of a kind that is not merged here.
    """
    path = directory / CONFIG
    if not path.is_file():
        return None
    try:
        config = json.loads(read_bounded(path))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the adapter's config is damaged: {error}", where=str(path), fix="save it again") from None
    if not isinstance(config, dict):
        raise UsageError("the adapter's config is damaged: no JSON object", where=str(path), fix="save it again")
    kind = str(config.get("peft_type", "")).rpartition(".")[2]
    if kind != "LORA":
        raise _not_merged(f"an adapter of the method {kind or 'that it does not name'}", path)
    if config.get("init_lora_weights") not in _PLAIN_STARTS:
        raise _not_merged(f"init_lora_weights = {config['init_lora_weights']!r}, which changes the base model", path)
    for name, value in config.items():
        if name not in _MERGED | _IDLE and not _empty(value):
            raise _not_merged(f"{name} = {value!r}", path)
    if not (directory / WEIGHTS).is_file():
        pickled = (directory / "adapter_model.bin").is_file()
        raise UsageError(
            f"the adapter has no {WEIGHTS}" + (", only pickled weights, and a pickle can run code" if pickled else ""),
            where=str(directory),
            fix=f"save it with save_pretrained, or remove {CONFIG} if the adapter should not count",
        )
    return Adapter(directory, config)


def merge(model: Any, adapter: Adapter, announce: Callable[[str], None] | None = None) -> None:
    """Write an adapter into the weights of ``model``, as peft's ``merge_and_unload`` does.

    Args:
        model: the base model, as it was loaded.
        announce: called with one line that says what was merged.

    Raises:
        UsageError: the adapter is of another model, damaged, or changes a weight that two modules share.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = adapter.directory / WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"the adapter cannot be read: {error}", where=str(path), fix="fetch the file again") from None
    merged = 0
    with torch.no_grad():
        # Whole weights first: peft keeps that of an embedding with factors, and adds them to it.
        for name in sorted(tensors, key=lambda name: (bool(_split(name)[1]), name)):
            module, factor = _split(name)
            if factor in _FACTORS.values():
                if f"{name.removesuffix(factor)}{_partner(factor)}" not in tensors:
                    raise _of_another_model(name, path)
            elif factor in _FACTORS:
                _add(model, adapter, module, tensors, name, factor)
                merged += 1
            else:
                _replace(model, adapter, module, tensors[name])
    if not merged:
        raise UsageError("the adapter has no LoRA weights", where=str(path), fix="save it again with save_pretrained")
    if announce is not None:
        announce(f"merged the LoRA adapter of {adapter.directory} into the model: {merged} matrices")


def _split(name: str) -> tuple[str, str]:
    """Module and factor of a tensor's name; the full name and no factor where it is a whole weight or bias."""
    for factor in (*_FACTORS, *_FACTORS.values()):
        if name.endswith(f".{factor}"):
            return name.removesuffix(f".{factor}").removeprefix(_PREFIX), factor
    return name.removeprefix(_PREFIX).replace(".base_layer.", "."), ""


def _partner(factor: str) -> str:
    return next(a for a, b in _FACTORS.items() if b == factor)


def _add(model: Any, adapter: Adapter, module: str, tensors: Mapping[str, Tensor], name: str, factor: str) -> None:
    """W += scale * B A, in the orientation that the module keeps W in."""
    import torch

    path = adapter.directory / WEIGHTS
    other = f"{name.removesuffix(factor)}{_FACTORS[factor]}"
    place = _module(model, module, name, path)
    kind = type(place).__name__
    if other not in tensors or kind not in ("Linear", "Conv1D", "Embedding"):
        raise _of_another_model(name, path)
    weight: Any = place.weight
    _refuse_shared(model, weight, module, path)
    dtype = torch.promote_types(weight.dtype, torch.float32)
    a, b = tensors[name].to(dtype), tensors[other].to(dtype)
    rank = adapter.rank(module)
    # An embedding and a Conv1D keep W transposed.
    shape = tuple(weight.shape) if kind == "Linear" else tuple(weight.shape)[::-1]
    if a.ndim != 2 or b.ndim != 2 or (b.shape[0], a.shape[1]) != shape or not a.shape[0] == b.shape[1] == rank:
        raise UsageError(
            f"{name} and its partner have shapes {tuple(a.shape)} and {tuple(b.shape)}; "
            f"rank {rank} and the base model ask for {(rank, shape[1])} and {(shape[0], rank)}",
            where=str(path),
            fix="use the base model that the adapter was trained on",
        )
    delta = b @ a
    delta = (delta if kind == "Linear" else delta.T) * adapter.scale(module, rank)
    weight += delta.to(weight.dtype) if kind == "Embedding" else delta  # where peft rounds first


def _replace(model: Any, adapter: Adapter, name: str, value: Tensor) -> None:
    """A weight or bias that was trained whole takes the place of the base model's."""
    from torch import nn

    path = adapter.directory / WEIGHTS
    owner, _, attribute = name.rpartition(".")
    place = _module(model, owner, name, path)
    old = getattr(place, attribute, None)
    if not isinstance(old, nn.Parameter):
        raise _of_another_model(name, path)
    if old.shape != value.shape:
        raise UsageError(
            f"{name} has the shape {tuple(value.shape)}, the base model's weight {tuple(old.shape)}",
            where=str(path),
            fix="use the base model that the adapter was trained on; if its vocabulary was extended, "
            "resize the base model's embeddings, merge with peft and save the result",
        )
    saved = adapter.config.get("modules_to_save") or ()
    if any(owner == each or owner.endswith(f".{each}") for each in saved):  # a copy of its own, also of a tied head
        setattr(place, attribute, nn.Parameter(value.to(old.dtype), requires_grad=False))
        if place in (model.get_input_embeddings(), model.get_output_embeddings()):
            model.config.tie_word_embeddings = False
    else:
        old.copy_(value)


def _module(model: Any, module: str, name: str, path: Path) -> nn.Module:
    try:
        found: nn.Module = model.get_submodule(module)
    except AttributeError:
        raise _of_another_model(name, path) from None
    return found


def _refuse_shared(model: Any, weight: Tensor, module: str, path: Path) -> None:
    owners = [name for name, each in model.named_parameters(remove_duplicate=False) if each is weight]
    if len(owners) > 1:
        raise UsageError(
            f"the adapter changes '{module}'; merged it would change all that share its weights: {', '.join(owners)}",
            where=str(path),
            fix="untie the weights of the base model (tie_word_embeddings), merge with peft and save the result",
        )


def _of_another_model(name: str, path: Path) -> UsageError:
    return UsageError(
        f"the adapter's '{name}' has no place in the base model",
        where=str(path),
        fix="use the base model that the adapter was trained on",
    )


def _not_merged(what: str, path: Path) -> UsageError:
    return UsageError(
        f"{what}: only plain LoRA is merged on loading",
        where=str(path),
        fix="merge it once with peft (model.merge_and_unload().save_pretrained(DIRECTORY)), save the tokenizer there, "
        "and give DIRECTORY as the model",
    )


def _empty(value: Any) -> bool:
    return not value or (isinstance(value, dict) and all(map(_empty, value.values())))
