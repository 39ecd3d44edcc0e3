"""Keys and values of rows that grow by a token at a time, in place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from pytest_editpitfalls.engine.forward import KeptPrefix, rows_of


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values with room behind them: new ones are written there, and what is there so far is returned."""

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()
        self.length = keys.shape[2]
        self.pair = (_with_room(keys, room), _with_room(values, room))

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        end = self.length + key_states.shape[2]
        for kept, new in zip(self.pair, (key_states, value_states), strict=True):
            kept[:, :, self.length : end] = new
        self.length = end
        return self.pair[0][:, :, :end], self.pair[1][:, :, :end]

    def get_seq_length(self) -> int:
        return self.length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def keep(self, rows: Tensor) -> None:
        self.pair = (rows_of(self.pair[0], rows), rows_of(self.pair[1], rows))


def _with_room(tensor: Tensor, room: int) -> Tensor:
    return torch.cat([tensor, tensor.new_zeros(*tensor.shape[:2], room, tensor.shape[3])], dim=2)


class GrowingCache(Cache):  # type: ignore[misc]
    """A kept prefix of every block, padded on the left, that ``room`` tokens can be added to."""

    def __init__(self, prefix: KeptPrefix, room: int) -> None:
        super().__init__(layers=[_RoomyLayer(keys, values, room) for keys, values in prefix.whole()])

    @property
    def length(self) -> int:
        """Columns so far."""
        return int(self.layers[0].get_seq_length())

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        for layer in self.layers:
            layer.keep(rows)
