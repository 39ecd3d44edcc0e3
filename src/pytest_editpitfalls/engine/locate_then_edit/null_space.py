"""MEMIT in the null space of known keys: AlphaEdit, and what is built on it (Fang et al. 2025, arXiv 2410.02355).

    Delta^T = (P (K K^T + K_p K_p^T) + L2 I)^-1 P K R^T

P projects on the eigenvectors of the base model's C with an eigenvalue under ``nullspace_threshold``; K_p are the
keys of all earlier edits of the case. This is the family's closed form with gamma = 1 and
A^-1 = (P K_p K_p^T P + L2 I)^-1 P, so keys are kept, and a d_k x d_k matrix of their products only once they outnumber
its dimensions (`known_keys`). Target vector and residuals are MEMIT's.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import NullSpaceHyperparameters
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent

from .core import Batch
from .known_keys import KeyMap, weighted_with, with_new
from .layer_by_layer import LayerByLayer

N = TypeVar("N", bound=NullSpaceHyperparameters)


class NullSpaceEditor(LayerByLayer[N]):
    """See the module's docstring for the equations. A case's state: K_p by layer."""

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Templates, second moments and their null spaces; raises `UsageError` where one is empty or everything."""
        super().prepare(progress)
        for done, layer in enumerate(self._layers):
            progress(Progress("null space", done, len(self._layers)))
            self._project(layer)

    def _weighted(self, batch: Batch, layer: int, keys: Tensor) -> list[Tensor]:
        project = self._project(layer)
        return [
            weighted_with(None if each.state is None else each.state[layer], new, project, self._hp.L2)
            for new, each in zip(batch.of_job(keys), batch.before, strict=True)
        ]

    def _state(self, before: Any, used: dict[int, Any]) -> Any:
        # The release reads the keys again after the edit. They are the same: a key depends on the layers below its
        # own only, and those were already written when it was read.
        return {
            layer: with_new(None if before is None else before[layer], new, self._project(layer), self._hp.L2)
            for layer, new in used.items()
        }

    def _project(self, layer: int) -> KeyMap:
        return self._moments[layer].null_space(self._hp.nullspace_threshold).project
