"""Several devices on a machine that has none: tensors that lie on the CPU, but say that they are elsewhere.

`several_devices` lets "cpu:1", "cpu:2", ... be devices, as different from each other and from "cpu" as two GPUs are: an
operation on tensors of two of them raises as it does there, and what crosses over has to be moved. So a model that is
spread over them runs the same code as on GPUs, with numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

HERE = torch.device("cpu")

_MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
_TAKES_INDICES_FROM_THE_CPU = {"aten::index", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_"}


class Elsewhere(Tensor):
    """A tensor on another device; ``held`` is its content."""

    held: Tensor
    place: torch.device

    @staticmethod
    def __new__(cls, held: Tensor, place: torch.device) -> Elsewhere:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=HERE,
            dispatch_device=True,
        )
        made.held, made.place = held, place
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"{self.held!r} on {self.place}"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.tolist, Tensor.numpy):  # they read memory; as of a GPU's tensor, numpy() is none of its own
            if func is Tensor.numpy:
                raise TypeError(f"can't convert {args[0].place} device type tensor to numpy")
            return args[0].detach().cpu().tolist()
        if func is Tensor.data_ptr:
            return args[0].held.data_ptr()
        if func is Tensor.new_tensor:
            made = torch.tensor(args[1], **{"dtype": args[0].dtype, **(kwargs or {})})
            return made.to(args[0].device)
        with torch._C.DisableTorchFunctionSubclass():  # what comes back is not of this class by itself
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _is_elsewhere(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cpu" and torch.device(device).index is not None


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.prim.device.default:
        return args[0].place
    wrappers: dict[int, Elsewhere] = {}
    places: set[torch.device] = set()

    def opened(each: Any) -> Any:
        if isinstance(each, Elsewhere):
            places.add(each.place)
            wrappers[id(each.held)] = each
            return each.held
        if isinstance(each, Tensor):
            if each.ndim:
                places.add(HERE)
        elif isinstance(each, (list, tuple)):
            return type(each)(map(opened, each))
        return each

    target = args[0] if args else None
    args = tuple(map(opened, args))
    kwargs = {key: opened(each) for key, each in kwargs.items()}
    if func not in _MOVES:
        if func._schema.name in _TAKES_INDICES_FROM_THE_CPU and isinstance(target, Elsewhere):
            places.discard(HERE)
        if len(places) > 1:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found {sorted(map(str, places))} ({func})"
            )
    if func is torch.ops.aten.copy_.default:
        there = target.place if isinstance(target, Elsewhere) else None
    elif (asked := kwargs.get("device")) is not None:
        there = torch.device(asked) if _is_elsewhere(asked) else None
        kwargs["device"] = HERE
    else:
        there = next((place for place in places if place is not HERE), None)
    result = func(*args, **kwargs)
    if there is None:
        return result
    if func is torch.ops.aten._to_copy.default and result is args[0]:
        result = result.clone()

    def closed(each: Any) -> Any:
        if isinstance(each, Tensor):
            return wrappers[id(each)] if id(each) in wrappers else Elsewhere(each, there)
        return type(each)(map(closed, each)) if isinstance(each, (list, tuple)) else each

    return closed(result)


class _Factories(TorchDispatchMode):
    """Makes tensors where they are asked for, and moves those of the CPU."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """``torch.tensor`` and generators name their device to nobody below."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and _is_elsewhere(kwargs.get("device")):
            device = kwargs["device"]
            made = torch.tensor(*args, **{**kwargs, "device": HERE, "requires_grad": False}).to(device)
            return made.requires_grad_(kwargs.get("requires_grad", False))
        return func(*args, **kwargs)


@contextmanager
def several_devices() -> Iterator[None]:
    """While open, "cpu:1" and higher are devices of their own."""
    future: Any = torch.__future__
    before = future.get_overwrite_module_params_on_conversion()
    future.set_overwrite_module_params_on_conversion(True)  # Module.to() must not write into the parameter it has
    try:
        with _Literals(), _Factories():
            yield
    finally:
        future.set_overwrite_module_params_on_conversion(before)
