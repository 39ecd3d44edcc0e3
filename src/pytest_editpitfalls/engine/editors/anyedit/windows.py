"""A long target cut into windows, and what is added to a block's output before each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from pytest_editpitfalls.engine.block_probe import first_tensor
from pytest_editpitfalls.engine.locate_then_edit.edit_rows import EditRow
from pytest_editpitfalls.engine.overlay import RowContext
from pytest_editpitfalls.engine.token_gradients import TargetRow


def windows_of(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Start and end of each window of a target of ``length`` tokens.

    As released, the last window may lie in the one before it where windows overlap.
    """
    return [(start, min(start + size, length)) for start in range(0, length, size - overlap)]


def window_row(job: int, row: TargetRow, window: tuple[int, int]) -> EditRow:
    """The text up to the window's end; its vector is added at the token before the window."""
    start, end = window
    prompt = row.prompt + row.target[:start]
    return EditRow(job, prompt, row.target[start:end], 1 / (end - start), len(prompt) - 1, bare=True)


@dataclass(frozen=True)
class AddedAt:
    """Vectors added to a block's output at some columns of a row that starts at column 0; never part of a result.

    Attributes:
        module: full name of the block.
        columns: (m,) where.
        vectors: (m, hidden size).
    """

    token_wise: ClassVar[bool] = False
    module: str
    columns: Tensor
    vectors: Tensor

    def is_finite(self) -> bool:
        return bool(self.vectors.isfinite().all())

    def nbytes(self) -> int:
        return int(self.columns.nbytes + self.vectors.nbytes)

    @classmethod
    def stack(cls, changes: Sequence[Sequence[AddedAt]]) -> StackedAddedAt:
        return StackedAddedAt(tuple(tuple(each) for each in changes))


@dataclass(frozen=True)
class StackedAddedAt:
    """Those of each edited model."""

    models: tuple[tuple[AddedAt, ...], ...]

    def hook(self, rows: RowContext) -> Any:
        """Adds each row's own vectors where they stand inside the pass."""
        asked = rows.models.tolist()
        places = [
            (row, change) for row, model in enumerate(asked) for change in self.models[model] if len(change.columns)
        ]
        if not places:
            return None
        row = torch.cat([torch.full_like(change.columns, index) for index, change in places])
        column = torch.cat([change.columns for _, change in places])
        vectors = torch.cat([change.vectors for _, change in places])

        def add(_module: Any, _args: Any, output: Any) -> Any:
            hidden = first_tensor(output)
            changed = hidden.index_put((row, column), vectors.to(hidden.dtype), accumulate=True)
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return add
