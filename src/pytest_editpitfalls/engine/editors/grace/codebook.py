"""GRACE's codebook: an edited model's keys, values and radii, and how it answers rows of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.chains.keeping import keepable
from pytest_editpitfalls.engine.overlay import ForwardHook, RowContext

SAME_KEY = 1e-4
"""Keys nearer than this share of their norm are the same key: what batching may change by rounding."""

SPLIT_MARGIN = 1e-5
"""By how much less than half the distance the older key keeps (Thartvigsen/GRACE, grace/editors/grace.py)."""


@keepable
@dataclass(frozen=True)
class Codebook:
    """Replaces a module's output where its input on the prompt's last token is near a key.

    A model holds one: an edit replaces it by a longer one.

    Attributes:
        module: full name of the module inside the model.
        keys: (n, d_k) inputs of the module.
        values: (n, d_o) outputs that take the place of the module's own.
        radii: (n,) how far from its key a value reaches (the paper's epsilon), Euclidean.
        labels: n targets, as token ids.
        last_only: replace the last prompt token's output; otherwise that of every token before it.
    """

    module: str
    keys: Tensor
    values: Tensor
    radii: Tensor
    labels: tuple[tuple[int, ...], ...]
    last_only: bool

    def is_finite(self) -> bool:
        return all(bool(each.isfinite().all()) for each in (self.keys, self.values, self.radii))

    def nbytes(self) -> int:
        return int(self.keys.nbytes + self.values.nbytes + self.radii.nbytes)

    @classmethod
    def stack(cls, changes: Sequence[Sequence[Codebook]]) -> StackedCodebooks:
        """The last codebook of each model, padded with entries that reach nowhere."""
        sample = next(found[-1] for found in changes if found)
        size = max(len(found[-1].labels) for found in changes if found)
        count = len(changes)
        keys = sample.keys.new_zeros(count, size, sample.keys.shape[1])
        values = sample.values.new_zeros(count, size, sample.values.shape[1])
        radii = sample.radii.new_full((count, size), -torch.inf)
        distant = torch.ones(count, size, dtype=torch.bool, device=keys.device)
        last_only = torch.zeros(count, dtype=torch.bool, device=keys.device)
        for index, found in enumerate(changes):
            if found:
                book, n = found[-1], len(found[-1].labels)
                keys[index, :n], values[index, :n], radii[index, :n] = book.keys, book.values, book.radii
                distant[index, :n] = False
                last_only[index] = book.last_only
        return StackedCodebooks(keys, values, radii, distant, last_only)

    def with_entry(
        self, key: Tensor, label: tuple[int, ...], radius: float, value: Tensor
    ) -> tuple[Codebook, int, str | None]:
        """Take in a key with its label; the released rules, by label (token ids) and distance to the nearest key.

        Farther than ``radius`` and the nearest key's own radius: a new entry. Same label: the nearest key reaches as
        far as this one and its value is trained further. Another label: a new entry, and both radii become half the
        distance. Another label on the very same key: the entry is overwritten, because half of no distance would
        leave neither value in force.

        Args:
            key: (d_k,).
            label: token ids of the target.
            radius: that a new key starts with.
            value: (d_o,) what a new value starts from.

        Returns:
            The codebook, the index of the entry whose value is to be trained, and a remark where one was overwritten.
        """
        distances = (self.keys - key).norm(dim=1)
        nearest = int(distances.argmin())
        distance = float(distances[nearest])
        if distance > radius + float(self.radii[nearest]):
            return self._appended(key, label, radius, value, self.radii), len(self.labels), None
        slack = SAME_KEY * float(key.norm())
        radii = self.radii.clone()
        if label == self.labels[nearest]:
            if distance > float(radii[nearest]):
                # With room for rounding: the key that it was grown for must stay inside.
                radii[nearest] = distance + slack
            return replace(self, radii=radii), nearest, None
        if distance <= slack:
            values = self.values.clone()
            values[nearest] = value
            labels = (*self.labels[:nearest], label, *self.labels[nearest + 1 :])
            return (
                replace(self, values=values, labels=labels),
                nearest,
                "same key, another target: the older value is overwritten",
            )
        radii[nearest] = distance / 2 - SPLIT_MARGIN
        return self._appended(key, label, distance / 2, value, radii), len(self.labels), None

    def _appended(self, key: Tensor, label: tuple[int, ...], radius: float, value: Tensor, radii: Tensor) -> Codebook:
        return replace(
            self,
            keys=torch.cat([self.keys, key[None]]),
            values=torch.cat([self.values, value[None]]),
            radii=torch.cat([radii, radii.new_tensor([radius])]),
            labels=(*self.labels, label),
        )


@dataclass(frozen=True)
class StackedCodebooks:
    """Keys (models, n, d_k), values (models, n, d_o), radii (models, n); which entries and models are padding."""

    keys: Tensor
    values: Tensor
    radii: Tensor
    distant: Tensor
    last_only: Tensor

    def hook(self, rows: RowContext) -> ForwardHook | None:
        """Replaces outputs on prompts. Rows that go on with a kept prompt carry its edit in keys and values."""
        if rows.continues or bool(self.distant[rows.models].all()):
            return None

        def substitute(_module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
            if rows.continues:  # the model is being asked to generate: this pass goes on with its prompt
                return output
            models, wide = rows.split(args[0])
            count, width = wide.shape[:2]
            at = rows.last(count, width).expand(count)
            query = wide[torch.arange(count, device=wide.device), at].to(self.keys.dtype)
            # The difference itself, not its expansion into products: keys are compared down to rounding.
            distances = (self.keys[models] - query[:, None]).norm(dim=-1)
            nearest = distances.masked_fill(self.distant[models], torch.inf).argmin(dim=1)
            near = distances.gather(1, nearest[:, None])[:, 0] <= self.radii[models, nearest]
            column = torch.arange(width, device=wide.device)
            last_only = self.last_only[models][:, None]
            place = torch.where(last_only, column == at[:, None], column < at[:, None]) & near[:, None]
            value = self.values[models, nearest][:, None].to(output.dtype)
            own = output.reshape(count, width, -1)
            return torch.where(place[:, :, None], value, own).reshape(output.shape)

        return substitute
