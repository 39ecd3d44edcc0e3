"""SPHERE: AlphaEdit that spares the principal directions of the edited matrix's rows.

    Delta = Delta_AlphaEdit (I - alpha U U^T)

(Liu et al. 2026, arXiv 2510.01172.) U are the top eigenvectors of W^^T W^ / d_o up to the share eta of the eigenvalues'
sum and one more, W^ being the rows of the matrix as it is before the edit, each divided by its norm. All layers are
computed with AlphaEdit's own updates and projected at the end, and the keys that are kept are those (zjunlp/EasyEdit,
models/SPHERE).

The release takes the matrix as the model stores it: in GPT-2, which stores it transposed, it damps directions of the
output. Here it is (d_o, d_k) in every family, as in the paper.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.core import Batch, Written
from pytest_editpitfalls.engine.locate_then_edit.null_space import NullSpaceEditor
from pytest_editpitfalls.engine.locate_then_edit.target_vector import TargetVectors
from pytest_editpitfalls.engine.locate_then_edit.written_matrix import edited_matrix
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, LowRankDelta

from .hyperparameters import SphereHyperparameters

EPSILON = 1e-8
"""Added to the rows' norms, as released."""


class Sphere(NullSpaceEditor[SphereHyperparameters]):
    """The batched editor. See the module's docstring for the equations. A case's state: K_p by layer."""

    name = "sphere"
    _of_base: dict[int, Tensor]

    def _write(self, batch: Batch, vectors: TargetVectors) -> list[Written]:
        return [
            replace(
                written,
                deltas=tuple(
                    self._damped(layer, before.model, delta)
                    for layer, delta in zip(self._layers, written.deltas, strict=True)
                ),
            )
            for written, before in zip(super()._write(batch, vectors), batch.before, strict=True)
        ]

    def _damped(self, layer: int, model: EditedModel, delta: LowRankDelta | DenseDelta) -> LowRankDelta | DenseDelta:
        assert isinstance(delta, LowRankDelta)
        if not (self._hp.cumulative_ratio and self._hp.suppression_strength):
            return delta
        directions, right = self._directions(layer, model), delta.v.double()
        spared = right - self._hp.suppression_strength * directions @ (directions.T @ right)
        return self._delta(layer, delta.u, spared)

    def _directions(self, layer: int, model: EditedModel) -> Tensor:
        """(d_k, r) of the matrix as the model has it; those of the base model's are kept for all first edits."""
        if model:
            return principal_directions(edited_matrix(self._host, layer, model), self._hp.cumulative_ratio)
        if not hasattr(self, "_of_base"):
            self._of_base = {}
        if layer not in self._of_base:
            matrix = edited_matrix(self._host, layer, ())
            self._of_base[layer] = principal_directions(matrix, self._hp.cumulative_ratio)
        return self._of_base[layer]


def principal_directions(matrix: Tensor, share: float) -> Tensor:
    """(d_k, r) top eigenvectors of W^^T W^ / d_o, for W (d_o, d_k); the fewest that hold more than ``share``."""
    rows = matrix / (matrix.norm(dim=1, keepdim=True) + EPSILON)
    wide = rows.shape[0] < rows.shape[1]
    # The smaller of W^ W^^T and W^^T W^: both have the same eigenvalues but for zeros.
    values, vectors = torch.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)  # ascending
    values = values.clamp_min(0.0)
    count = int((values.flip(0).cumsum(0) / values.sum() <= share).sum()) + 1
    top = vectors[:, -count:]
    directions: Tensor = rows.T @ top / values[-count:].sqrt() if wide else top
    return directions
