"""A GPU that is not there: tensors that say they are on ``cuda:0``, held by the CPU, that mix as little as real ones.

Code that runs on it takes its branches for a GPU, and what a real one would refuse is an error here: operations on
tensors of both devices, a CPU's generator for numbers on the GPU, memory of the GPU read by the CPU. Kernels, rounding
and speed are the CPU's. Each copy to the CPU, for which a real one would make the CPU wait, is counted.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
aten = torch.ops.aten

MOVES = {aten._to_copy.default, aten.copy_.default}
"""Operations that may have tensors of both devices."""

INDEXED = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
"""Operations whose indices may be on the CPU."""

WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default}
"""Operations whose answer the CPU needs before it goes on."""


class DeviceMismatch(RuntimeError):
    """What a real GPU would refuse."""


class OnGpu(Tensor):
    """A tensor that says it is on the GPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> OnGpu:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device="meta",
            requires_grad=held.requires_grad,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held.detach() if held.requires_grad else held

    def __repr__(self, **_: Any) -> str:
        return f"OnGpu({self.held!r})"

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return CUDA

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_meta(self) -> bool:  # type: ignore[override]
        return False

    def tolist(self) -> Any:
        return self.cpu().tolist()

    # C++ would make tensors of numbers and lists, of the kind that it knows this one to be.

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(_indices(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        value = value if isinstance(value, Tensor) else torch.tensor(value, dtype=self.dtype)
        super().__setitem__(_indices(index), value)

    def new_tensor(self, data: Any, **kwargs: Any) -> Tensor:
        return torch.tensor(data, **{"dtype": self.dtype, "device": CUDA, **kwargs})

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _indices(index: Any) -> Any:
    if isinstance(index, list):
        return OnGpu(torch.tensor(index))
    return tuple(map(_indices, index)) if isinstance(index, tuple) else index


class Generator(torch.Generator):
    """A generator that says it is on the GPU; draws other numbers than a CPU's of that seed, as a real one does."""

    seeds: ClassVar[set[int]] = set()

    def manual_seed(self, seed: int) -> Generator:
        super().manual_seed(seed ^ 0x5EED)
        self.seeds.add(self.initial_seed())  # an operation is given another object of the same generator
        return self


class Gpu(TorchDispatchMode):
    """What is known of the GPU while it is there.

    Attributes:
        waits: places in the code at which the CPU waited for the GPU, and how often.
        seen: number of operations on it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


_GPUS: list[Gpu] = []


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = list(_tensors((*args, *kwargs.values())))
    there = any(isinstance(each, OnGpu) for each in tensors)
    asked = kwargs.get("device")
    if asked is not None:
        kind = torch.device(asked).type
        # C++ knows tensors of this kind as meta tensors, and makes others beside them.
        on_gpu = kind == "cuda" or (kind == "meta" and not _is_making_skeletons())
        if on_gpu:
            kwargs = {**kwargs, "device": CPU}
    else:
        on_gpu = isinstance(args[0], OnGpu) if func is aten.copy_.default else there
    if (generator := kwargs.get("generator")) is not None:
        kind = "cuda" if generator.initial_seed() in Generator.seeds else "cpu"
        if kind != ("cuda" if on_gpu else "cpu"):
            raise DeviceMismatch(f"{func}: Expected a '{'cuda' if on_gpu else 'cpu'}' device type for generator")
    if not there and not on_gpu:
        return func(*args, **kwargs)
    gpu = _GPUS[-1]
    gpu.seen += 1
    if there:
        _refuse_mixtures(func, args, tensors)
    if there and _waits(func, args, kwargs, on_gpu):
        gpu.waits[_place()] += 1
    if func is aten._fused_sdp_choice.default:
        return 0  # the plain way: the fused kernels are chosen by the device
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    held_args, held_kwargs = _held(args), {name: _held(value) for name, value in kwargs.items()}
    if func is aten.histc.default:  # a GPU counts whole numbers, too
        return OnGpu(func(held_args[0].float(), *held_args[1:], **held_kwargs).to(held_args[0].dtype))
    out = func(*held_args, **held_kwargs)
    if func in MOVES:
        if func is aten.copy_.default:
            return args[0]
        return OnGpu(out) if on_gpu else out
    if not on_gpu:
        return out
    out = _there(out)
    return return_and_correct_aliasing(func, args, kwargs, out)


def _tensors(values: Any) -> Iterator[Tensor]:
    """Those among an operation's arguments, which are at most lists of tensors: torch's own trees take much longer."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _held(value: Any) -> Any:
    """The same with the CPU's tensors."""
    if isinstance(value, OnGpu):
        return value.held
    return type(value)(map(_held, value)) if type(value) in (list, tuple) else value


def _there(value: Any) -> Any:
    """The same with tensors on the GPU."""
    if isinstance(value, Tensor):
        return OnGpu(value)
    return type(value)(map(_there, value)) if type(value) in (list, tuple) else value


def _refuse_mixtures(func: Any, args: Any, tensors: Any) -> None:
    """Raises `DeviceMismatch` where a real GPU would."""
    if func in MOVES:
        return
    looked_at = (args[0], *args[2:3]) if func in INDEXED else tensors
    here = [each for each in looked_at if isinstance(each, Tensor) and not isinstance(each, OnGpu)]
    if any(each.is_meta for each in here):
        raise NotImplementedError(f"{func}: C++ has made a tensor that the pretended GPU does not know")
    if any(each.dim() > 0 for each in here):
        raise DeviceMismatch(
            f"{func}: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"(on the cpu: {[tuple(each.shape) for each in here]})"
        )


def _waits(func: Any, args: Any, kwargs: dict[str, Any], on_gpu: bool) -> bool:
    """Whether the CPU would wait for a real GPU."""
    if func is aten._to_copy.default:
        return not on_gpu and not kwargs.get("non_blocking")
    if func is aten.copy_.default:
        return not on_gpu and not (len(args) > 2 and args[2])
    if func in INDEXED:
        return any(each is not None and each.dtype == torch.bool for each in args[1])
    return func in WAITS


def _is_making_skeletons() -> bool:
    """Whether ``with torch.device("meta")`` has asked for it."""
    frame = sys._getframe()
    while frame is not None:
        context = frame.f_locals.get("self") if frame.f_code.co_filename == torch.utils._device.__file__ else None
        if context is not None:
            return bool(context.device.type == "meta")
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _place() -> str:
    """The line of our own code that is running."""
    frame = sys._getframe()
    while frame is not None:
        _, _, own = frame.f_code.co_filename.partition("pytest_editpitfalls/")
        if own:
            return f"{own}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


def moved(model: nn.Module) -> nn.Module:
    """A copy of the model on the GPU; tied weights stay tied."""
    model = copy.deepcopy(model)
    done: dict[int, Any] = {}
    for module in model.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                if id(weight) not in done:
                    done[id(weight)] = nn.Parameter(OnGpu(weight.detach()), requires_grad=False)
                module._parameters[name] = done[id(weight)]
        for name, buffer in list(module._buffers.items()):
            if buffer is not None:
                module._buffers[name] = done.setdefault(id(buffer), OnGpu(buffer))
    return model


class Event:
    """One that is over as soon as it is recorded."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True


@contextmanager
def pretended_gpu(free: int = 10**10) -> Iterator[Gpu]:
    """While open there is a GPU called cuda:0.

    Args:
        free: bytes of its memory that nobody has taken.
    """
    plain_generator, plain_empty, plain_tensor = torch.Generator, torch.empty, torch.tensor

    def generator(device: Any = "cpu") -> torch.Generator:
        return Generator() if torch.device(device).type == "cuda" else plain_generator()

    def tensor(data: Any, *, device: Any = None, **kwargs: Any) -> Tensor:
        made = plain_tensor(data, **kwargs)
        return (
            made
            if device is None
            else made.to(
                torch.device(device)
                if torch.device(device).index is not None
                else (torch.device(device).type == "cuda" and CUDA) or device
            )
        )

    def empty(*args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        return plain_empty(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "Generator", generator)
        patch.setattr(torch, "empty", empty)
        patch.setattr(torch, "tensor", tensor)
        for name, value in {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "mem_get_info": lambda _device=None: (free, 2 * free),
            "memory_allocated": lambda _device=None: 0,
            "memory_reserved": lambda _device=None: 0,
            "max_memory_allocated": lambda _device=None: 0,
            "reset_peak_memory_stats": lambda _device=None: None,
            "empty_cache": lambda: None,
            "synchronize": lambda _device=None: None,
            "current_stream": lambda _device=None: None,
            "get_rng_state": lambda _device=None: torch.get_rng_state(),
            "set_rng_state": lambda _state, _device=None: None,
            "manual_seed_all": lambda _seed: None,
            "get_device_name": lambda _device=None: "pretended",
            "get_device_capability": lambda _device=None: (9, 0),
            "Event": Event,
        }.items():
            patch.setattr(torch.cuda, name, value)
        gpu = Gpu()
        _GPUS.append(gpu)
        try:
            with gpu:
                yield gpu
        finally:
            _GPUS.pop()
