"""MEMIT as released (`memit/memit`): z for each request, then layer by layer (lambda C + K K^T)^-1 K in float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.program import EditRequest

from .borrowed import Borrowed
from .reading import at_subject
from .rows import Row, template_rows
from .target_vector import learn
from .weights import EditedMatrices


class Memit:
    """Writes the requests of one step together, into several layers.

    C is rounded to the model's editing precision, as `get_cov` keeps it, and used in float64.

    Args:
        borrowed: what our editor uses.
    """

    def __init__(self, borrowed: Borrowed) -> None:
        self._borrowed = borrowed
        self._layers = list(borrowed.hyperparameters["layers"])
        self.matrices = EditedMatrices(borrowed.host, self._layers)
        self._moments = {layer: moment.to(borrowed.host.edit_dtype) for layer, moment in borrowed.moments.items()}

    def write(self, requests: Sequence[EditRequest]) -> None:
        """Edit the model in place."""
        host, hyperparameters = self._borrowed.host, self._borrowed.hyperparameters
        templates = self._borrowed.templates
        last = host.blocks[self._layers[-1]]
        learnt = [learn(host, last, each, templates, hyperparameters, head_twice=True) for each in requests]
        targets = torch.stack([each.value + each.delta for each in learnt])
        rows = [template_rows(host, request, templates) for request in requests]
        for index, layer in enumerate(self._layers):
            keys = self._keys(layer, rows)
            _, now = at_subject(host, last, [each[0] for each in rows])
            residual = (targets - now).double().T / (len(self._layers) - index)
            system = hyperparameters["mom2_update_weight"] * self._moments[layer].double() + keys @ keys.T
            adjusted = torch.linalg.solve(system, keys)
            self.matrices.add(layer, residual @ adjusted.T)

    def _keys(self, layer: int, rows: Sequence[Sequence[Row]]) -> Tensor:
        """(d_k, requests) float64: half the bare prompt's key and half the mean of the others."""
        host = self._borrowed.host
        flat = [row for each in rows for row in each]
        keys, _ = at_subject(host, host.down_projection(layer), flat)
        of_request = keys.reshape(len(rows), -1, keys.shape[1])
        bare, others = of_request[:, 0], of_request[:, 1:]
        mean = (bare + others.mean(dim=1)) / 2 if others.shape[1] else bare
        return mean.double().T
