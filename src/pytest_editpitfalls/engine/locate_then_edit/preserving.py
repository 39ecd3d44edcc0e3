"""MEMIT's scheme with what ENCORE adds to the system (Gupta et al. 2025, arXiv 2502.01636; encore/encore_main.py).

    A = lambda C + lambda_n I + K_p K_p^T

lambda_n is ``update_norm_lambda``; K_p are the keys of all earlier edits of the case, where ``add_prev_edits`` is on.
Without either it is MEMIT's A = lambda C. With F F^T = lambda C + lambda_n I,

    A^-1 K = F^-T (I + (F^-1 K_p) (F^-1 K_p)^T)^-1 F^-1 K

so that F comes from one factorisation per layer and run, and `known_keys` solves the rest.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import torch
from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import PreservingHyperparameters
from pytest_editpitfalls.engine.moments import SecondMoment

from .core import Batch
from .known_keys import KeyMap, weighted_with, with_new
from .layer_by_layer import LayerByLayer

P = TypeVar("P", bound=PreservingHyperparameters)


class Preserving(LayerByLayer[P]):
    """See the module's docstring for the equations. A case's state: K_p by layer, where they are preserved."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._regular: dict[int, SecondMoment] = {}

    def _weighted(self, batch: Batch, layer: int, keys: Tensor) -> list[Tensor]:
        if not self._hp.add_prev_edits:
            return batch.of_job(self._moment(layer).solve(keys) / self._hp.mom2_update_weight)
        white = [
            weighted_with(None if each.state is None else each.state[layer], new, self._whitened(layer), 1.0)
            for new, each in zip(batch.of_job(keys), batch.before, strict=True)
        ]
        upper = self._factor(layer).T
        return [torch.linalg.solve_triangular(upper, each.T, upper=True).T for each in white]

    def _state(self, before: Any, used: dict[int, Any]) -> Any:
        if not self._hp.add_prev_edits:
            return before
        return {
            layer: with_new(None if before is None else before[layer], new, self._whitened(layer), 1.0)
            for layer, new in used.items()
        }

    def _moment(self, layer: int) -> SecondMoment:
        """C + (lambda_n / lambda) I."""
        if layer not in self._regular:
            more = self._hp.update_norm_lambda / self._hp.mom2_update_weight
            self._regular[layer] = self._moments[layer].with_ridge(more)
        return self._regular[layer]

    def _factor(self, layer: int) -> Tensor:
        return math.sqrt(self._hp.mom2_update_weight) * self._moment(layer).factor

    def _whitened(self, layer: int) -> KeyMap:
        """F^-1 of keys (n, d_k)."""

        def whitened(keys: Tensor) -> Tensor:
            solved: Tensor = torch.linalg.solve_triangular(self._factor(layer), keys.double().T, upper=False)
            return solved.T

        return whitened
