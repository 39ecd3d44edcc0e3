"""MEMIT's scheme: several layers share the residual of one target vector.

    z_i = h_i + delta_i, learnt on the model before the step
    for each layer, ascending:  R = (z - h) * share,  Delta = R (K^T A^-1 K + gamma I)^-1 K^T A^-1

K and the current h (at the last edited layer) are read under what has been written so far. All requests of one step
are solved for together. A key is half the bare prompt's and half the mean over the other context templates.

Where the target vector lives: at the output of the last edited block, unless an editor says otherwise. In families with
a norm after the MLP a residual there is no residual of the matrix: they are refused by name.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import LayerByLayerHyperparameters
from pytest_editpitfalls.engine.overlay import LowRankDelta
from pytest_editpitfalls.engine.sampling import SEED_WORDS

from .core import Batch, LocateThenEdit, Written
from .solve import closed_form
from .subject_states import SubjectReader
from .target_vector import TargetVectors

M = TypeVar("M", bound=LayerByLayerHyperparameters)


class LayerByLayer(LocateThenEdit[M]):
    """MEMIT's scheme; members say where residuals are measured, how they are shared and what A and gamma are."""

    seed_words: ClassVar[tuple[str, ...]] = SEED_WORDS

    def _write(self, batch: Batch, vectors: TargetVectors) -> list[Written]:
        target = vectors.target()
        reader = SubjectReader(
            self._resources.forward,
            batch.owner,
            batch.rows,
            grouped=True,
            max_tokens=self._resources.max_tokens,
        )
        written: list[list[LowRankDelta]] = []
        used: dict[int, list[Tensor]] = {}
        for index, layer in enumerate(self._layers):
            overlay = self._overlay(batch.before, *written)
            keys = reader.climb(overlay, layer).keys
            now = reader.state(overlay, self.sites[0], self._layers[-1])
            residual = (target - now).double() * self._share(len(self._layers) - index)
            used[layer] = batch.of_job(keys)
            parts = zip(batch.of_job(residual), used[layer], self._weighted(batch, layer, keys), strict=True)
            written.append([self._delta(layer, *closed_form(*each, self._gamma(len(each[1])))) for each in parts])
        return [
            Written(
                tuple(deltas[place] for deltas in written),
                self._state(batch.before[place].state, {layer: each[place] for layer, each in used.items()}),
            )
            for place in range(len(batch.jobs))
        ]

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

    def _state(self, before: Any, keys: dict[int, Tensor]) -> Any:
        """What the case's next edit needs to know, from this edit's keys (requests, d_k) by layer."""
        del keys
        return before
