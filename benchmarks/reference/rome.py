"""ROME as released (`memit/rome`): Delta = (v* - v_bare) u^T / (u^T k_bare), u = C^-1 k_mean / |C^-1 k_mean|."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.program import EditRequest

from .borrowed import Borrowed
from .reading import at_subject
from .rows import template_rows
from .target_vector import learn
from .weights import EditedMatrices


class Rome:
    """Writes one request after another into one layer.

    The inverse of C is computed in float64 at the first edit, rounded to the model's editing precision and kept, as
    `get_inv_cov` does.

    Args:
        borrowed: what our editor uses.
    """

    def __init__(self, borrowed: Borrowed) -> None:
        self._borrowed = borrowed
        (self._layer,) = borrowed.hyperparameters["layers"]
        self.matrices = EditedMatrices(borrowed.host, [self._layer])
        self._inverse: Tensor | None = None

    def write(self, requests: Sequence[EditRequest]) -> None:
        """Edit the model in place."""
        for request in requests:
            self._write(request)

    def _write(self, request: EditRequest) -> None:
        host, hyperparameters = self._borrowed.host, self._borrowed.hyperparameters
        module = host.down_projection(self._layer)
        rows = template_rows(host, request, self._borrowed.templates)
        u = at_subject(host, module, rows)[0].mean(dim=0)
        if hyperparameters["mom2_adjustment"]:
            u = (self._inverse_moment() @ u[:, None]).squeeze(1)
        u = u / u.norm()
        learnt = learn(host, module, request, self._borrowed.templates, hyperparameters)
        keys, values = at_subject(host, module, rows[:1])  # the bare prompt once more
        right = (learnt.value + learnt.delta - values[0]) / torch.dot(keys[0], u)
        self.matrices.add(self._layer, right[:, None] @ u[None, :])

    def _inverse_moment(self) -> Tensor:
        if self._inverse is None:
            inverse = torch.linalg.inv(self._borrowed.moments[self._layer])
            self._inverse = inverse.to(self._borrowed.host.edit_dtype)
        return self._inverse
