"""Which weights of an edited model differ from the base's, how much, and how they take their place."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.models.fingerprint import tensor_digest
from pytest_editpitfalls.engine.overlay import EditedModel, ModelDifference
from pytest_editpitfalls.engine.overlay.difference import Attachment

MOST_RANK = 16
"""The highest rank that is told: a change of a higher one is called full."""

_HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class WeightChange:
    """One weight that differs.

    Attributes:
        name: its full name; of tied weights the first.
        change: Frobenius norm of the difference, relative to the base's weight; infinite where that is all zero.
        entries: share of its numbers that differ.
        rank: rank of the difference of a matrix, rounding aside; None where it is above `MOST_RANK` or unknown.
        rounded: the half precision that all its numbers fit into and the base's do not; None where there is none.
        edited: whether it differs by more than that rounding.
    """

    name: str
    shape: tuple[int, ...]
    change: float
    entries: float
    rank: int | None = None
    rounded: torch.dtype | None = None
    edited: bool = True


class CheckpointWeights(ModelDifference):
    """The weights of an edited checkpoint that are not the base's: one for all cases, looked at when it was opened."""

    def is_finite(self) -> bool:
        return True


@dataclass(frozen=True)
class Comparison:
    """What differs.

    Attributes:
        changes: the weights that differ, in the model's order.
        model: the edited model: one object for all cases, by which the scorer sees that it is one.
        digest: SHA-256 over names, shapes and bytes of these weights.
        compared: number of weights that were compared.
    """

    changes: tuple[WeightChange, ...]
    model: EditedModel
    digest: str
    compared: int


def compare(base: nn.Module, edited: nn.Module) -> Comparison:
    """Compare two models of the same names and shapes; what differs is kept on the base model's device.

    Weights that the base ties and the edited model does not are told apart.
    """
    here = edited.state_dict()
    changes: list[WeightChange] = []
    values: dict[str, Tensor] = {}
    untied: list[Attachment] = []
    digest = hashlib.sha256()
    compared = 0

    def note(name: str, before: Tensor, after: Tensor) -> Tensor:
        digest.update(tensor_digest(name, after))
        changes.append(change_of(name, before, after))
        return after.to(before.device)

    for names, before in _tied(base):
        compared += 1
        first = names[0]
        if not _equal(before, here[first]):
            values[first] = note(first, before, here[first])
        for other in names[1:]:
            if not _equal(here[other], here[first]):
                compared += 1
                untied.append(_untied(base, other, note(other, before, here[other])))
    weights = CheckpointWeights(values, tuple(untied), declares_independent_rows=True)
    return Comparison(tuple(changes), (weights,), digest.hexdigest(), compared)


def change_of(name: str, before: Tensor, after: Tensor) -> WeightChange:
    """How much one weight differs."""
    before = before.to(after.device)
    wide = torch.promote_types(after.dtype, torch.float32)
    rounded = _half_of(before, after)
    start = before if rounded is None else before.to(rounded).to(before.dtype)
    difference = after.to(wide) - start.to(wide)
    count = int(difference.count_nonzero())
    if not count:  # rounding is all of it
        difference = after.to(wide) - before.to(wide)
    size, norm = float(before.to(wide).norm()), float(difference.norm())
    return WeightChange(
        name,
        tuple(before.shape),
        norm / size if size else math.inf,
        (count or int(difference.count_nonzero())) / max(1, before.numel()),
        _rank(difference, after) if count and difference.ndim == 2 and after.is_floating_point() else None,
        rounded,
        edited=bool(count),
    )


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.to(other.device), other)


def _half_of(before: Tensor, after: Tensor) -> torch.dtype | None:
    """The half precision that the edited weight was rounded to and the base's was not."""
    for dtype in _HALVES:
        if (
            after.is_floating_point()
            and after.dtype.itemsize > dtype.itemsize
            and torch.equal(after.to(dtype).to(after.dtype), after)
            and not torch.equal(before.to(dtype).to(before.dtype), before)
        ):
            return dtype
    return None


def _rank(difference: Tensor, after: Tensor) -> int | None:
    """Rank of a matrix as far as it stands out of the rounding of the weights that it is a difference of.

    The matrix times a few random columns has the same rank, and takes one product (Halko et al. 2011, arXiv 0909.4061).
    """
    rows, columns = difference.shape
    width = min(MOST_RANK + 4, rows, columns)
    generator = torch.Generator(device="cpu").manual_seed(0)
    sketch = difference @ torch.randn(columns, width, generator=generator).to(difference.dtype)
    found = torch.linalg.svdvals(sketch.double())
    precision = after.dtype if (half := _as_stored(after)) is None else half
    noise = float(after.to(difference.dtype).norm()) / math.sqrt(rows * columns) * torch.finfo(precision).eps
    floor = 2 * noise * math.sqrt(columns) * (math.sqrt(rows) + math.sqrt(width))
    rank = int((found > max(floor, 1e-6 * float(found[0]))).sum())
    return rank if 0 < rank <= MOST_RANK and (rank < width or rank == min(rows, columns)) else None


def _as_stored(tensor: Tensor) -> torch.dtype | None:
    """The half precision that holds all numbers of a tensor; None where it takes more."""
    halves = (dtype for dtype in _HALVES if torch.equal(tensor.to(dtype).to(tensor.dtype), tensor))
    return next(halves, None)


def _tied(model: nn.Module) -> Iterator[tuple[list[str], Tensor]]:
    """Each parameter and stored buffer with its names; several where modules share it."""
    groups: dict[int, list[str]] = {}
    kept: Mapping[str, Any] = model.state_dict(keep_vars=True)
    for name, tensor in kept.items():
        groups.setdefault(id(tensor), []).append(name)
    yield from ((names, kept[names[0]].detach()) for names in groups.values())


def _untied(base: nn.Module, name: str, value: Tensor) -> Attachment:
    """A parameter of its own in the place of one that the base shares."""
    path, _, key = name.rpartition(".")
    module = base.get_submodule(path)
    return Attachment(
        path, module, "_parameters", key, module._parameters[key], nn.Parameter(value, requires_grad=False)
    )
