"""A model as the transformers of 2022 gave it, while code that was written for these edits it.

It is sent to other interpreters: releases of Python and torch that are older than ours run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_NAMES = {"n_embd": "hidden_size", "n_positions": "max_position_embeddings"}
"""What GPT-2's configuration calls it, which such code asks of every model."""


@contextmanager
def as_in_2022(model: Any, blocks: str) -> Iterator[None]:
    """While it is open, the blocks return a tuple to hooks, and the configuration has GPT-2's names.

    Args:
        blocks: where the model has its blocks, ``model.layers`` for instance.
    """
    config = model.config
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    # a model without a limit of positions (BLOOM) has no such name, and code that needs one says so
    lent = {new: getattr(text, old) for new, old in _NAMES.items() if not hasattr(config, new) and hasattr(text, old)}
    kinds = [(block, type(block)) for block in model.get_submodule(blocks)]
    for block, kind in kinds:
        block.__class__ = _returning_a_tuple(kind)
    vars(config).update(lent)
    try:
        yield
    finally:
        for name in lent:
            vars(config).pop(name, None)
        for block, kind in kinds:
            block.__class__ = kind


@contextmanager
def masks_of_new_tokens(model: Any) -> Iterator[None]:
    """While it is open, who passes a cache may pass the attention mask of the new tokens alone, as GPT-2 took it then.

    Today that hides all that is in the cache but for its first token. The collections' ``generate_fast``, which samples
    context templates, does so.
    """
    try:
        hook = model.register_forward_pre_hook(_with_whole_mask, with_kwargs=True)
    except TypeError:  # torch 1 cannot; the transformers beside it take such masks
        hook = None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


def _returning_a_tuple(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of a block whose hooks see a tuple, and whose caller gets what it expects."""

    class Block(kind):  # type: ignore[valid-type, misc]
        returned_a_tensor = False

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            returned = super().forward(*args, **kwargs)
            Block.returned_a_tensor = isinstance(returned, Tensor)
            return (returned,) if Block.returned_a_tensor else returned

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            returned = super().__call__(*args, **kwargs)
            return returned[0] if Block.returned_a_tensor and isinstance(returned, tuple) else returned

    return Block


def _with_whole_mask(model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    del model
    mask, tokens, cache = kwargs.get("attention_mask"), kwargs.get("input_ids"), kwargs.get("past_key_values")
    seen = cache.get_seq_length() if cache is not None and hasattr(cache, "get_seq_length") else 0
    if seen and isinstance(mask, Tensor) and tokens is not None and mask.shape == tokens.shape:
        kwargs["attention_mask"] = torch.cat([mask.new_ones(len(mask), seen), mask], dim=1)
    return args, kwargs
