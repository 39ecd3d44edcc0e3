"""Weights that checkpoint and model do not share, from the report that transformers makes of loading. Torch-free.

transformers fills in random weights, leaves out what it has no place for, and only warns. Here what changes the model
is refused, with a message for each kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from pytest_editpitfalls.engine.families import Family
from pytest_editpitfalls.errors import UsageError

_HARMLESS = re.compile(
    r"(^|\.)(inv_freq|position_ids|masked_bias|causal_mask|cos_cached|sin_cached|rope\.freqs|version)$"
    r"|(^|\.)(attn|attention|self_attn|self_attention|crossattention)\.bias$"
)
"""Tables and masks that older releases stored and that every model makes of its config."""

_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What DataParallel, torch.compile, FSDP and activation checkpointing put into the names of weights."""

_ADAPTER = re.compile(r"\.(lora_[A-Za-z_]+|base_layer|modules_to_save|original_module)\.")
_QUANTISED = re.compile(
    r"\.(qweight|qzeros|g_idx|SCB|absmax|quant_map|quant_state|weight_scale|weight_scale_inv|scales)\b"
)


def check_report(
    report: Mapping[str, Any],
    expected: Iterable[str],
    family: Family,
    where: str,
    announce: Callable[[str], None] | None = None,
) -> None:
    """Refuse a model that is not what its checkpoint says.

    Args:
        report: `output_loading_info` of ``from_pretrained``, with ``ignore_mismatched_sizes=True``: transformers has
            taken out of it what the model's class declares as ignored.
        expected: names of the model's own weights.
        family: where the architecture keeps its blocks.
        where: for messages.
        announce: called with one line where weights are left out that answers do not depend on (a value head).

    Raises:
        UsageError: weights behind a wrapper's prefix, of blocks, biases or modules that the config leaves out, of an
            adapter, of another shape, or missing.
    """
    names = frozenset(expected)
    strays = sorted(name for name in map(str, report["unexpected_keys"]) if not _HARMLESS.search(name))
    missing = sorted(str(name) for name in report["missing_keys"])
    _refuse_wrapped(strays, names, where)
    _refuse_blocks(strays, names, family, where)
    _refuse_packed(strays, where)
    _refuse_shapes(report["mismatched_keys"], where)
    if missing:
        raise UsageError(
            f"the checkpoint lacks {len(missing)} weight(s), for instance {missing[0]}",
            where=where,
            fix="use a complete checkpoint of the causal language model",
        )
    _refuse_biases(strays, names, where)
    # A head beside the model changes no answer; a weight inside of it would, if the model had a place for it.
    roots = {name.partition(".")[0] for name in names}
    inside = [name for name in strays if name.partition(".")[0] in roots or _block_of(name, family) is not None]
    if inside:
        raise UsageError(
            f"the checkpoint has {len(inside)} weight(s) that the model of its config.json has no place for, "
            f"for instance {inside[0]}",
            where=where,
            fix="use the config.json that was saved with these weights: this one is of another architecture or variant",
        )
    if strays and announce is not None:
        announce(
            f"{where}: {len(strays)} weight(s) of the checkpoint are not the language model's and are not used, "
            f"for instance {strays[0]}"
        )


def _refuse_wrapped(strays: Iterable[str], names: Collection[str], where: str) -> None:
    found = [(name, inner) for name in strays if (inner := _unwrapped(name, names)) is not None]
    if not found:
        return
    name, inner = found[0]
    prefix = name.removesuffix(inner) if name.endswith(inner) else ""
    prefix = prefix or next(f"{part}." for part in name.split(".") if part in _WRAPPERS)
    raise UsageError(
        f"{len(found)} weight(s) of the checkpoint have '{prefix}' in their names and are not read because of that: "
        f"{name} should be {inner}",
        where=where,
        fix=f"save the model that is inside of the wrapper, or take '{prefix}' out of the names in the file",
    )


def _unwrapped(name: str, names: Collection[str]) -> str | None:
    """The weight of the model that ``name`` is behind a wrapper's prefix, at the front or further inside."""
    parts = name.split(".")
    plain = ".".join(part for part in parts if part not in _WRAPPERS)
    candidates = [plain] if plain != name else []
    candidates += [".".join(parts[start:]) for start in range(1, len(parts) - 1)]
    for candidate in candidates:
        if candidate in names:
            return candidate
    # Behind the wrapper there may be a bare transformer, whose names lack the language model's first part.
    if plain != name and any(full.endswith(f".{plain}") for full in names):
        return plain
    return None


def _refuse_blocks(strays: Iterable[str], names: Collection[str], family: Family, where: str) -> None:
    have = 1 + max((block for name in names if (block := _block_of(name, family)) is not None), default=-1)
    beyond = [(block, name) for name in strays if (block := _block_of(name, family)) is not None and block >= have]
    if not beyond:
        return
    last = max(block for block, _ in beyond)
    raise UsageError(
        f"its config.json says {have} block(s), the checkpoint has weights of {last + 1}, for instance {beyond[0][1]}",
        where=where,
        fix=f"set the number of blocks in config.json (num_hidden_layers, n_layer) to {last + 1}; "
        f"for a model of {have}, save it anew without the others",
    )


def _block_of(name: str, family: Family) -> int | None:
    first, _, rest = family.blocks.partition(".")
    path = rf"(?:{re.escape(first)}\.)?{re.escape(rest)}" if rest else re.escape(first)  # a bare transformer lacks it
    found = re.match(rf"{path}\.(\d{{1,9}})\.", name)
    return int(found[1]) if found else None


def _refuse_packed(strays: Iterable[str], where: str) -> None:
    for name in strays:
        if _ADAPTER.search(name):
            raise UsageError(
                f"an adapter is saved among the model's weights and would not be applied: {name}",
                where=where,
                fix="merge it before saving: model.merge_and_unload().save_pretrained(DIRECTORY)",
            )
        if _QUANTISED.search(name):
            raise UsageError(
                f"the checkpoint is quantised, though its config.json does not say so: {name}",
                where=where,
                fix="use the unquantised checkpoint, or a GGUF file, which is dequantised",
            )


def _refuse_shapes(mismatched: Iterable[tuple[str, Iterable[int], Iterable[int]]], where: str) -> None:
    found = sorted((str(name), tuple(stored), tuple(wanted)) for name, stored, wanted in mismatched)
    if found:
        name, stored, wanted = found[0]
        raise UsageError(
            f"{len(found)} weight(s) have another shape than config.json says, for instance {name}: "
            f"{stored} in the checkpoint, {wanted} by the config",
            where=where,
            fix="use the config.json that was saved with these weights",
        )


def _refuse_biases(strays: Iterable[str], names: Collection[str], where: str) -> None:
    stems = {name.removesuffix(".weight") for name in names if name.endswith(".weight")}
    biases = [name for name in strays if name.endswith(".bias") and _ends(name.removesuffix(".bias"), stems)]
    if biases:
        raise UsageError(
            f"the checkpoint has {len(biases)} bias(es) that its config.json leaves out, for instance {biases[0]}",
            where=where,
            fix="set the config's entries for biases (attention_bias, mlp_bias) as the model was trained, "
            "or use the config.json that was saved with these weights",
        )


def _ends(stem: str, stems: Collection[str]) -> bool:
    return stem in stems or any(full.endswith(f".{stem}") for full in stems)
