"""ROME and MEMIT as released, on weights that are written in place, copied before and copied back after."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.engine.matrices import is_transposed
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.program import EditRequest

from .borrowed import Borrowed
from .rows import Row, at_subject, template_rows
from .target_vector import learn


class EditedMatrices:
    """The down-projections of some layers.

    Args:
        layers: the layers that an editor writes.
    """

    def __init__(self, host: ModelAdapter, layers: Sequence[int]) -> None:
        self._modules = {layer: host.down_projection(layer) for layer in layers}

    def copies(self) -> dict[int, Tensor]:
        """Each matrix as it is now."""
        return {layer: self._weight(layer).detach().clone() for layer in self._modules}

    @torch.no_grad()
    def restore(self, copies: dict[int, Tensor]) -> None:
        """Put copies back, bit for bit."""
        for layer, copy in copies.items():
            self._weight(layer).copy_(copy)

    @torch.no_grad()
    def add(self, layer: int, update: Tensor) -> None:
        """Add an update (d_o, d_k) to a layer's matrix, whichever way round it is stored."""
        weight = self._weight(layer)
        weight += (update.T if is_transposed(self._modules[layer]) else update).to(weight.dtype)

    def _weight(self, layer: int) -> Tensor:
        weight: Tensor = self._modules[layer].weight  # type: ignore[assignment]
        return weight


class Rome:
    """Writes one request after another into one layer (`memit/rome`).

        Delta = (v* - v_bare) u^T / (u^T k_bare),  u = C^-1 k_mean / |C^-1 k_mean|

    The inverse of C is computed in float64 at the first edit, rounded to the model's editing precision and kept, as
    `get_inv_cov` does.

    Args:
        borrowed: what our editor uses.
    """

    def __init__(self, borrowed: Borrowed) -> None:
        self.borrowed = borrowed
        (self._layer,) = borrowed.hyperparameters["layers"]
        self.matrices = EditedMatrices(borrowed.host, [self._layer])
        self._inverse: Tensor | None = None

    def write(self, requests: Sequence[EditRequest]) -> None:
        """Edit the model in place."""
        for request in requests:
            self._write(request)

    def _write(self, request: EditRequest) -> None:
        host, hyperparameters = self.borrowed.host, self.borrowed.hyperparameters
        module = host.down_projection(self._layer)
        rows = template_rows(host, request, self.borrowed.templates)
        u = at_subject(host, module, rows)[0].mean(dim=0)
        if hyperparameters["mom2_adjustment"]:
            u = (self._inverse_moment() @ u[:, None]).squeeze(1)
        u = u / u.norm()
        learnt = learn(host, module, request, self.borrowed.templates, hyperparameters)
        keys, values = at_subject(host, module, rows[:1])  # the bare prompt once more
        right = (learnt.value + learnt.delta - values[0]) / torch.dot(keys[0], u)
        self.matrices.add(self._layer, right[:, None] @ u[None, :])

    def _inverse_moment(self) -> Tensor:
        if self._inverse is None:
            inverse = torch.linalg.inv(self.borrowed.moments[self._layer])
            self._inverse = inverse.to(self.borrowed.host.edit_dtype)
        return self._inverse


class Memit:
    """Writes the requests of one step together, into several layers (`memit/memit`).

    A target vector for each request, then layer by layer (lambda C + K K^T)^-1 K in float64.

    C is rounded to the model's editing precision, as `get_cov` keeps it, and used in float64.

    Args:
        borrowed: what our editor uses.
    """

    def __init__(self, borrowed: Borrowed) -> None:
        self.borrowed = borrowed
        self._layers = list(borrowed.hyperparameters["layers"])
        self.matrices = EditedMatrices(borrowed.host, self._layers)
        self._moments = {layer: moment.to(borrowed.host.edit_dtype) for layer, moment in borrowed.moments.items()}

    def write(self, requests: Sequence[EditRequest]) -> None:
        """Edit the model in place."""
        host, hyperparameters = self.borrowed.host, self.borrowed.hyperparameters
        templates = self.borrowed.templates
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
        host = self.borrowed.host
        flat = [row for each in rows for row in each]
        keys, _ = at_subject(host, host.down_projection(layer), flat)
        of_request = keys.reshape(len(rows), -1, keys.shape[1])
        bare, others = of_request[:, 0], of_request[:, 1:]
        mean = (bare + others.mean(dim=1)) / 2 if others.shape[1] else bare
        return mean.double().T
