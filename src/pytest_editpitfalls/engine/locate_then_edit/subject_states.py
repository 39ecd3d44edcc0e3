"""Keys and current states at the subject's last token: of one layer, or read layer by layer while edits are written.

The key of layer l is the input of its down-projection, averaged over the context templates. Rows end at the subject's
last token: nothing behind it can matter. What lies below the layer that is written now is final, so its hidden states
are kept and only the blocks from there on run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, Rows
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.upper_blocks import capturing

from .edit_rows import EditRow
from .sites import Site


@dataclass(frozen=True)
class Readings:
    """What stands at the subject's last token of n requests, in one layer.

    Attributes:
        keys: (n, d_k) input of the down-projection, averaged over the context templates.
        bare_keys: (n, d_k) the same on the bare prompt.
        values: (n, d_o) output of the down-projection, averaged likewise.
    """

    keys: Tensor
    bare_keys: Tensor
    values: Tensor


class TemplateMeans:
    """Means over the context templates of each of n requests.

    Args:
        rows: rows of all requests that have a target (KL rows are no templates).
        requests: n.
        grouped: the mean is of two groups, half the bare prompt and half the mean of the others (kmeng01/memit,
            memit/compute_ks.py); otherwise of all alike (kmeng01/rome).
        dtype: their precision.

    Attributes:
        bare: (n,) place of each request's bare prompt in ``rows``.
    """

    def __init__(
        self,
        rows: Sequence[EditRow],
        requests: int,
        *,
        grouped: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._requests = requests
        self._request = torch.tensor([row.job for row in rows], device=device)
        bare = torch.tensor([row.bare for row in rows], device=device)
        group = 2 * self._request + (bare & grouped)
        size = torch.bincount(group, minlength=2 * requests)
        groups = (size.reshape(-1, 2) > 0).sum(dim=1)
        self._weight = 1 / (size[group] * groups[self._request]).to(dtype)
        self.bare = torch.zeros(requests, dtype=torch.long, device=device)
        self.bare[self._request[bare]] = bare.nonzero()[:, 0]

    def readings(self, keys: Tensor, values: Tensor) -> Readings:
        """Of keys (rows, d_k) and values (rows, d_o)."""
        return Readings(self._mean(keys), keys[self.bare], self._mean(values))

    def _mean(self, states: Tensor) -> Tensor:
        total = states.new_zeros(self._requests, states.shape[1])
        return total.index_add(0, self._request, states * self._weight[:, None])


@dataclass
class _Bucket:
    """Rows of nearly equal length: r rows of unique (edited model, tokens)."""

    rows: Rows
    number: Tensor  # (r,) of each unique row
    model: Tensor  # (r,)
    last: Tensor  # (r,) column of the subject's last token
    hidden: Tensor | None = None  # (r, tokens, hidden): input of block `SubjectReader._reached`


class SubjectReader:
    """Reads n requests' keys and states under edited models, layers in ascending order.

    Args:
        model_of: (n,) index of each request's edited model in the overlays given later.
        rows: all rows of all requests; KL rows are ignored.
        grouped: how `TemplateMeans` are captured.
        max_tokens: padded tokens per forward pass.
    """

    def __init__(
        self,
        forward: Forward,
        model_of: Sequence[int],
        rows: Sequence[EditRow],
        *,
        grouped: bool,
        max_tokens: int,
    ) -> None:
        self._forward = forward
        host = forward.host
        self._device, self._dtype = host.device, host.edit_dtype
        rows = [row for row in rows if row.target]
        # Requests of one Multi-Label Edit share all their rows.
        unique: dict[tuple[int, tuple[int, ...]], int] = {}
        number = [unique.setdefault((model_of[row.job], row.prefix + row.suffix[:1]), len(unique)) for row in rows]
        self._unique = len(unique)
        self._number = torch.tensor(number, device=self._device)
        self._means = TemplateMeans(rows, len(model_of), grouped=grouped, device=self._device, dtype=self._dtype)
        self._bare_number = self._number[self._means.bare]
        self._is_bare = torch.zeros(self._unique, dtype=torch.bool, device=self._device)
        self._is_bare[self._bare_number] = True
        self._reached = 0
        places = list(unique)
        self._buckets = [
            self._bucket(bucket, places)
            for bucket in buckets([len(tokens) for _, tokens in places], max_tokens=max_tokens, slack=LAUNCH_TOKENS)
        ]

    @torch.no_grad()
    def climb(self, overlay: Overlay, layer: int) -> Readings:
        """Go up to ``layer`` and read there. Blocks below it must be final in ``overlay``."""
        host, first = self._forward.host, self._reached
        found: tuple[Tensor, Tensor] | None = None
        for bucket in self._buckets:
            with overlay.rows(bucket.model, bucket.last + 1):
                if layer > first:
                    bucket.hidden = self._forward.blocks(bucket.rows, first=first, last=layer, hidden=bucket.hidden)
                with capturing(host.down_projection(layer), bucket.last, 1, self._dtype) as captured:
                    self._forward.blocks(bucket.rows, first=layer, last=layer + 1, hidden=bucket.hidden)
            if found is None:
                found = (
                    captured.inputs.new_empty(self._unique, captured.inputs.shape[2]),
                    captured.outputs.new_empty(self._unique, captured.outputs.shape[2]),
                )
            found[0][bucket.number], found[1][bucket.number] = captured.inputs[:, 0], captured.outputs[:, 0]
        self._reached = layer
        assert found is not None
        keys, values = found
        return self._means.readings(keys[self._number], values[self._number])

    @torch.no_grad()
    def state(self, overlay: Overlay, site: Site, layer: int) -> Tensor:
        """(n, d_o) output of ``site`` in ``layer`` on the bare prompts; not below the layer climbed to."""
        found: Tensor | None = None
        for bucket in self._buckets:
            chosen = self._is_bare[bucket.number].nonzero()[:, 0]
            if len(chosen) == 0:
                continue
            rows, last = bucket.rows.select(chosen), bucket.last[chosen]
            hidden = None if bucket.hidden is None else bucket.hidden[chosen]
            with (
                overlay.rows(bucket.model[chosen], last + 1),
                capturing(site.module(self._forward.host, layer), last, 1, self._dtype) as captured,
            ):
                self._forward.blocks(rows, first=self._reached, last=layer + 1, hidden=hidden)
            if found is None:
                found = captured.outputs.new_empty(self._unique, captured.outputs.shape[2])
            found[bucket.number[chosen]] = captured.outputs[:, 0]
        assert found is not None
        return found[self._bare_number]

    def _bucket(self, bucket: list[int], places: list[tuple[int, tuple[int, ...]]]) -> _Bucket:
        models, tokens = zip(*(places[index] for index in bucket), strict=True)
        return _Bucket(
            Rows.pad(tokens, self._device),
            torch.tensor(bucket, device=self._device),
            torch.tensor(models, device=self._device),
            torch.tensor([len(each) - 1 for each in tokens], device=self._device),
        )
