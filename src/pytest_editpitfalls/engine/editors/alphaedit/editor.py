"""AlphaEdit: MEMIT in the null space of known keys (Fang et al. 2025, arXiv 2410.02355; jianghoucheng/AlphaEdit).

    Delta^T = (P (K K^T + K_p K_p^T) + L2 I)^-1 P K R^T

P projects on the eigenvectors of the base model's C with an eigenvalue under ``nullspace_threshold``; K_p are the
keys of all earlier edits of the case. This is the family's closed form with gamma = 1 and
A^-1 = (P K_p K_p^T P + L2 I)^-1 P, so keys are kept, and a d_k x d_k matrix of their products only once they outnumber
its dimensions (`known_keys`). Target vector and residuals are MEMIT's.

Where the target vector lives: as MEMIT's, at the output of the last edited block; families with a norm after the MLP
are refused by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.core import Batch
from pytest_editpitfalls.engine.locate_then_edit.layer_by_layer import LayerByLayer, weighted_with_cache
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent

from .hyperparameters import AlphaEditHyperparameters
from .known_keys import FEW, KnownKeys


class AlphaEdit(LayerByLayer[AlphaEditHyperparameters]):
    """The batched editor. See the module's docstring for the equations. A case's state: K_p by layer."""

    name = "alphaedit"

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Templates, second moments and their null spaces; raises `UsageError` where one is empty or everything."""
        super().prepare(progress)
        for done, layer in enumerate(self._layers):
            progress(Progress("null space", done, len(self._layers)))
            self._moments[layer].null_space(self._hp.nullspace_threshold)

    def _weighted(self, batch: Batch, layer: int, keys: Tensor) -> list[Tensor]:
        space, own = self._moments[layer].null_space(self._hp.nullspace_threshold), batch.of_job(keys)
        weighted = []
        for new, each in zip(own, batch.before, strict=True):
            known = keys[:0] if each.state is None else each.state[layer]
            if isinstance(known, KnownKeys):
                weighted.append(known.weighted(space.project(new)))
            else:
                weighted.append(weighted_with_cache(space.project(new), space.project(known), self._hp.L2))
        return weighted

    def _state(self, before: Any, keys: dict[int, Tensor]) -> Any:
        # The release reads the keys again after the edit. They are the same: a key depends on the layers below its
        # own only, and those were already written when it was read.
        return {
            layer: self._known(layer, None if before is None else before[layer], new) for layer, new in keys.items()
        }

    def _known(self, layer: int, before: Tensor | KnownKeys | None, new: Tensor) -> Tensor | KnownKeys:
        """The keys of earlier edits and of this one: as they were read while they are few."""
        space = self._moments[layer].null_space(self._hp.nullspace_threshold)
        if isinstance(before, KnownKeys):
            return before.with_keys(space.project(new))
        keys = new if before is None else torch.cat([before, new])
        return keys if len(keys) <= FEW else KnownKeys.of(space.project(keys), self._hp.L2)
