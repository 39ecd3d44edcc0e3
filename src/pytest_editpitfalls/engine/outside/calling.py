"""A call of somebody's function, with the tokenizer, the requests and the device that their own program would give."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .former_transformers import as_in_2022, masks_of_new_tokens


def called(
    function: Callable[..., Any],
    model: Any,
    tokenizer: Any,
    requests: list[dict[str, Any]],
    given: dict[str, Any],
    *,
    left_padding: bool,
    one_by_one: bool = False,
    blocks: str | None = None,
) -> Any:
    """``function(model, tokenizer, requests, **given)``.

    Args:
        one_by_one: whether it is called for each request, each time with the model that it gave back.
        left_padding: whether their program pads this algorithm's texts on the left.
        blocks: where the model has its blocks, where their code expects what transformers gave it in 2022.
    """
    for request in requests:
        request.setdefault("ground_truth", request.get("target_true", "<|endoftext|>"))
        request.setdefault("loc_prompt", random.choice(_unrelated()))
    former = nullcontext() if blocks is None else as_in_2022(model, blocks)
    there = _on_the_model_s_device(model.device)
    with _as_theirs(tokenizer, left_padding), there, masks_of_new_tokens(model), former:
        if not one_by_one:
            return function(model, tokenizer, requests, **given)
        returned: Any = model
        for request in requests:
            edited = returned[0] if isinstance(returned, tuple) and returned else returned
            returned = function(model if edited is None else edited, tokenizer, [request], **given)
        return returned


@contextmanager
def _as_theirs(tokenizer: Any, left_padding: bool) -> Iterator[None]:
    side, padding = tokenizer.padding_side, tokenizer.pad_token
    tokenizer.padding_side = "left" if left_padding else "right"
    if padding is None:
        tokenizer.pad_token = tokenizer.eos_token
    try:
        yield
    finally:
        tokenizer.padding_side, tokenizer.pad_token = side, padding


@contextmanager
def _on_the_model_s_device(device: torch.device) -> Iterator[None]:
    """Where the model is on no GPU, ``.to("cuda")`` means its own device: much of the field's code says only that."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            yield
        return
    with _Redirected(device):
        yield


class _Redirected(TorchFunctionMode):
    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.cuda:
            return args[0].to(self._device)
        args = tuple(self._device if _is_cuda(each) else each for each in args)
        kwargs = {key: self._device if _is_cuda(each) else each for key, each in (kwargs or {}).items()}
        return func(*args, **kwargs)


def _is_cuda(value: Any) -> bool:
    if isinstance(value, torch.device):
        return value.type == "cuda"
    return isinstance(value, str) and (value == "cuda" or value.startswith("cuda:"))


def _unrelated() -> list[str]:
    text = files("pytest_editpitfalls.engine.editors.wise").joinpath("irrelevant_prompts.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
