"""Objects that editors put around the model they were lent, and copies that they make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.errors import CaseError

_PROBE = ((1, 2, 3, 4, 5),)


def holds(wrapper: Any, model: nn.Module) -> bool:
    """Whether ``wrapper`` is an object around ``model``: EasyEdit's GRACE, peft's PeftModelForCausalLM."""
    if isinstance(wrapper, nn.Module):
        return any(module is model for module in wrapper.modules())
    return any(value is model for value in getattr(wrapper, "__dict__", {}).values())


def check_transparent(wrapper: Any, model: nn.Module, texts: Sequence[Sequence[int]]) -> str | None:
    """See that the wrapper answers as the model in it does: the model alone is asked afterwards.

    Args:
        wrapper: what the editor returned.
        model: the model in it.
        texts: token ids of what the edit is about: a wrapper may answer for itself there only.

    Returns:
        A note where its answers have no logits to compare.

    Raises:
        CaseError: it answers otherwise, and what it adds in its own forward would be lost; or it cannot be called.
    """
    if not callable(wrapper):
        return None
    device = next(model.parameters()).device
    with torch.no_grad(), _evaluating(wrapper, model):
        for text in (*_PROBE, *texts):
            tokens = torch.tensor([list(text)], device=device)
            inside = model(input_ids=tokens).logits
            answer = _asked(wrapper, model, tokens)
            if (outside := _logits(answer)) is None:
                return (
                    f"returned a {type(wrapper).__name__} that answers with a {type(answer).__name__} without logits: "
                    "the model in it is asked alone, without what the wrapper may add"
                )
            if outside.shape != inside.shape or not torch.equal(outside, inside):
                raise CaseError(
                    f"returned a {type(wrapper).__name__} that answers otherwise than the model in it",
                    fix="merge what it adds into the model's weights or layers (peft: model.merge_and_unload())",
                )
    return None


@contextmanager
def _evaluating(wrapper: Any, model: nn.Module) -> Iterator[None]:
    """Wrapper and model in evaluation mode; every module in its own mode again afterwards."""
    outermost = wrapper if isinstance(wrapper, nn.Module) else model
    modes = [(module, module.training) for module in outermost.modules()]
    outermost.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


def _asked(wrapper: Any, model: nn.Module, tokens: Tensor) -> Any:
    """What the wrapper answers; some look at the labels, too."""
    try:
        return wrapper(input_ids=tokens)
    except Exception:
        try:
            return wrapper(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=tokens)
        except Exception as error:
            kind, own = type(wrapper).__name__, type(model).__name__
            raise CaseError(
                f"returned a {kind}, not a {own}: it cannot be called like one ({type(error).__name__}: {error})",
                fix="return the model that was passed, or a wrapper that answers as the model in it does",
            ) from None


def _logits(answer: Any) -> Tensor | None:
    """The logits of what a model returned: an output object, a dictionary, a tuple or the tensor itself."""
    found = answer
    if isinstance(answer, tuple) and answer:
        found = answer[0]
    elif isinstance(answer, Mapping):
        found = answer.get("logits")
    elif hasattr(answer, "logits"):
        found = answer.logits
    return found if isinstance(found, Tensor) else None


@contextmanager
def detached_copies() -> Iterator[None]:
    """While open, ``copy.deepcopy`` copies a tensor that has a history without it; torch refuses such a copy."""
    original: Any = Tensor.__deepcopy__

    def copied(tensor: Tensor, memo: dict[int, Any]) -> Any:
        if tensor.is_leaf or not tensor.requires_grad:
            return original(tensor, memo)
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone().requires_grad_()
        return memo[id(tensor)]

    Tensor.__deepcopy__ = copied  # type: ignore[method-assign]
    try:
        yield
    finally:
        Tensor.__deepcopy__ = original  # type: ignore[method-assign]
