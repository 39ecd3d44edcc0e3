"""MEMIT's scheme: several layers share the residual of one target vector.

    z_i = h_i + delta_i, learnt on the model before the step
    for each layer, ascending:  R = (z - h) * share,  Delta = R (K^T A^-1 K + gamma I)^-1 K^T A^-1

K and the current h (at the last edited layer) are read under what has been written so far. All requests of one step
are solved for together. A key is half the bare prompt's and half the mean over the other context templates.

The closed form (Gupta et al. 2024, arXiv 2403.14236), with keys K (d_k x n) and residuals R (d_o x n), is the whole
family's. gamma = 0 and n = 1: ROME. gamma = 1, A = lambda C: MEMIT, PMET. gamma = emmet_lambda: EMMET. gamma = 1 and
A^-1 = (P K_p K_p^T P + L2 I)^-1 P: AlphaEdit. A^-1 K comes from one factorisation per layer and run; what is solved
here is n x n.

Where the target vector lives: at the output of the last edited block, unless an editor says otherwise. In families with
a norm after the MLP a residual there is no residual of the matrix: they are refused by name. Where the block multiplies
its MLP's output by a factor (Granite), the matrix's residual is the block's divided by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import LayerByLayerHyperparameters
from pytest_editpitfalls.engine.overlay import DenseDelta, LowRankDelta
from pytest_editpitfalls.engine.sampling import SEED_WORDS

from .core import Batch, LocateThenEdit, Written
from .sites import Site
from .subject_states import SubjectReader
from .target_vector import TargetVectors

M = TypeVar("M", bound=LayerByLayerHyperparameters)


class LayerByLayer(LocateThenEdit[M]):
    """MEMIT's scheme; members say where residuals are measured, how they are shared and what A and gamma are."""

    seed_words: ClassVar[tuple[str, ...]] = SEED_WORDS

    def _write(self, batch: Batch, vectors: TargetVectors) -> list[Written]:
        target = vectors.target()
        factor = self._host.family.mlp_factor if self.sites[0] is Site.BLOCK else 1.0
        reader = SubjectReader(
            self._resources.forward,
            batch.owner,
            batch.rows,
            grouped=True,
            max_tokens=self._resources.max_tokens,
        )
        written: list[Sequence[LowRankDelta | DenseDelta]] = []
        used: dict[int, list[Any]] = {}
        for index, layer in enumerate(self._layers):
            overlay = self._overlay(batch.before, *written)
            keys = reader.climb(overlay, layer).keys
            now = reader.state(overlay, self.sites[0], self._layers[-1])
            residual = (target - now).double() * self._share(len(self._layers) - index) / factor
            deltas, used[layer] = self._updates(batch, layer, residual, keys)
            written.append(deltas)
        return [
            Written(
                tuple(deltas[place] for deltas in written),
                self._state(batch.before[place].state, {layer: each[place] for layer, each in used.items()}),
            )
            for place in range(len(batch.jobs))
        ]

    def _updates(
        self, batch: Batch, layer: int, residuals: Tensor, keys: Tensor
    ) -> tuple[Sequence[LowRankDelta | DenseDelta], list[Any]]:
        """Each job's update of one layer, and what `_state` gets of it: its keys, unless an editor says otherwise.

        Args:
            residuals: (n, d_o) of all requests.
            keys: (n, d_k) of all requests.
        """
        own = batch.of_job(keys)
        parts = zip(batch.of_job(residuals), own, self._weighted(batch, layer, keys), strict=True)
        return [self._delta(layer, *closed_form(*each, self._gamma(len(each[1])))) for each in parts], own

    def _share(self, layers_left: int) -> float:
        """The part of the residual that this layer writes."""
        return 1 / layers_left

    def _gamma(self, requests: int) -> float:
        """What is added to the diagonal of the system of a job's ``requests`` keys."""
        del requests
        return 1.0

    def _weighted(self, batch: Batch, layer: int, keys: Tensor) -> list[Tensor]:
        """(A^-1 K)^T of each job, from all requests' keys (n, d_k)."""
        return batch.of_job(self._moments[layer].solve(keys) / self._hp.mom2_update_weight)

    def _state(self, before: Any, used: dict[int, Any]) -> Any:
        """What the case's next edit needs to know, from what `_updates` gave by layer: keys (requests, d_k)."""
        del used
        return before


def closed_form(residuals: Tensor, keys: Tensor, weighted: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """U (d_o, n) and V (d_k, n) of Delta = U V^T, float64; not finite where the n x n system is singular.

    Args:
        residuals: (n, d_o), R^T.
        keys: (n, d_k), K^T.
        weighted: (n, d_k), (A^-1 K)^T.
        gamma: added to the system's diagonal.
    """
    residuals, keys, weighted = residuals.double(), keys.double(), weighted.double()
    gram = keys @ weighted.T
    identity = torch.eye(len(keys), dtype=torch.float64, device=keys.device)
    # Symmetric but for rounding; U^T = (gram + gamma I)^-1 R^T.
    left, info = torch.linalg.solve_ex((gram + gram.T) / 2 + gamma * identity, residuals)
    if int(info) != 0:
        left = torch.full_like(residuals, torch.nan)
    return left.T, weighted.T
