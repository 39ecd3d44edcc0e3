"""Whether an edited checkpoint is the base model but for its weights: the same config, tokenizer and shapes.

Both are then one model object with one or the other weights, and a probability before and after the edits differs by
the weights alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_editpitfalls.errors import UsageError

_HARMLESS = frozenset(
    {"_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "use_cache"}
    | {"_attn_implementation", "attn_implementation", "_attn_implementation_internal", "gradient_checkpointing"}
    | {"pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "task_specific_params"}
    | {"output_hidden_states", "output_attentions", "return_dict", "initializer_range", "id2label", "label2id"}
    | {"problem_type", "chunk_size_feed_forward", "tie_word_embeddings", "use_return_dict", "_experts_implementation"}
)
"""Entries of a config that change no probability; which weights are tied is seen in the weights themselves."""

_SAME_MODEL = "an audit takes the base that the edits were made on; give that one with --base"


def check_config(base: Any, edited: Any, name: str, base_name: str) -> None:
    """Refuse a checkpoint whose config makes another model of the same weights.

    Raises:
        UsageError: another architecture, another number of blocks, another vocabulary, or another setting.
    """
    where = f"--edited={name}"
    if base.model_type != edited.model_type:
        what = f"it is a model of the type '{edited.model_type}', and the base {base_name} one of '{base.model_type}'"
        raise UsageError(what, where=where, fix=_SAME_MODEL)
    for field, words in (("num_hidden_layers", "blocks"), ("vocab_size", "rows in its token embedding")):
        here, there = (_of_text(config, field) for config in (edited, base))
        if here != there:
            more = "" if field != "vocab_size" else "; if only tokens were added, save the model without them"
            raise UsageError(f"it has {here} {words}, and the base {there}", where=where, fix=_SAME_MODEL + more)
    known = _entries(_fresh(base))
    here, there = _entries(edited.to_dict()), _entries(base.to_dict())
    # What the config's class does not know is a remark of some program.
    differ = [key for key in sorted(here.keys() | there.keys()) if here.get(key) != there.get(key)]
    differ = [key for key in differ if not _is_harmless(key) and (not known or key in known)]
    if differ:
        key = differ[0]
        more = f" ({len(differ)} entries differ: {', '.join(differ[:5])})" if len(differ) > 1 else ""
        raise UsageError(
            f"config.json says {key} = {here.get(key)!r}, and the base's {there.get(key)!r}{more}",
            where=where,
            fix=f"{_SAME_MODEL}; if the entry is a mistake, copy config.json from the base",
        )


def check_same_tokenizer(base: Any, edited: Any, name: str, base_name: str) -> None:
    """Refuse a tokenizer that reads or writes text in another way.

    Raises:
        UsageError: it does; names what differs.
    """
    if (differs := _tokenizer_difference(base, edited)) is not None:
        raise UsageError(
            f"its tokenizer is another one than that of the base {base_name}: {differs}",
            where=f"--edited={name}",
            fix="give the base that the edits were made on with --base; "
            "if the tokenizer was saved by mistake, take its files out of the directory: the base's is used then",
        )


def check_shapes(base: Any, edited: Any, name: str, base_name: str) -> None:
    """Refuse weights that only one of the models has, or that have another shape.

    Raises:
        UsageError: there are some; names the first.
    """
    where = f"--edited={name}"
    here, there = edited.state_dict(), base.state_dict()
    for only, words in (
        (here.keys() - there.keys(), "the edited checkpoint has weights that the base has not"),
        (there.keys() - here.keys(), "the base has weights that the edited checkpoint has not"),
    ):
        if only:
            raise UsageError(f"{words}: {min(only)} and {len(only) - 1} more", where=where, fix=_SAME_MODEL)
    for key, tensor in here.items():
        if tensor.shape != there[key].shape:
            raise UsageError(
                f"the weight '{key}' has the shape {tuple(tensor.shape)}, and {tuple(there[key].shape)} in {base_name}",
                where=where,
                fix=_SAME_MODEL,
            )


def _of_text(config: Any, field: str) -> Any:
    return getattr(config.get_text_config(decoder=True), field, None)


def _fresh(config: Any) -> Mapping[str, Any]:
    """The config of the same class with nothing set; empty where it cannot be made."""
    try:
        return type(config)().to_dict()  # type: ignore[no-any-return]
    except Exception:  # some classes want arguments
        return {}


def _entries(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The entries of a nested config by their dotted names."""
    return dict(_flat(values, before))


def _flat(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and all(isinstance(each, str) for each in value):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", list(value) if isinstance(value, tuple) else value


def _is_harmless(key: str) -> bool:
    parts = key.split(".")
    last = parts[-1]
    return bool(_HARMLESS.intersection(parts)) or "dropout" in last or last.endswith(("_pdrop", "_drop"))


def _tokenizer_difference(base: Any, edited: Any) -> str | None:
    there, here = base.get_vocab(), edited.get_vocab()
    if there != here:
        token = min(each for each in there.keys() | here.keys() if there.get(each) != here.get(each))
        count = sum(there.get(each) != here.get(each) for each in there.keys() | here.keys())
        return f"{count} token(s) have another id, for instance {token!r}: {here.get(token)} and {there.get(token)}"
    parts = [json.loads(each.backend_tokenizer.to_str()) for each in (base, edited)]
    wrong = [
        key
        for key in dict.fromkeys([*parts[0], *parts[1]])
        if key not in ("padding", "truncation", "version") and parts[0].get(key) != parts[1].get(key)
    ]
    return None if not wrong else f"its {' and '.join(wrong)} differ{'s' if len(wrong) == 1 else ''}"
