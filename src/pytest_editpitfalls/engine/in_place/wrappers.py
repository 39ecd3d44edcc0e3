"""Objects that editors put around the model they were lent, and copies that they make of it."""

from __future__ import annotations

from collections.abc import Iterator
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


def check_transparent(wrapper: Any, model: nn.Module) -> None:
    """See that the wrapper answers as the model in it does: the model alone is asked afterwards.

    Raises:
        CaseError: it does not; what it adds in its own forward would be lost.
    """
    tokens = torch.tensor(_PROBE, device=next(model.parameters()).device)
    was_training = model.training
    if isinstance(wrapper, nn.Module):
        wrapper.eval()
    model.eval()
    try:
        with torch.no_grad():
            outside, inside = (each(input_ids=tokens).logits for each in (wrapper, model))
    except Exception:  # it cannot be called like a model: then it adds nothing to one either
        return
    finally:
        model.train(was_training)
    if outside.shape != inside.shape or not torch.equal(outside, inside):
        raise CaseError(
            f"returned a {type(wrapper).__name__} that answers otherwise than the model in it",
            fix="merge what it adds into the model's weights or layers (peft: model.merge_and_unload())",
        )


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
