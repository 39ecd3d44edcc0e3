"""LyapLock: edits weighed against what they must not change by a queue that grows with the damage.

    Delta = [R K^T + q lambda (V_0 - W K_0) K_0^T + (V_p - W K_p) K_p^T] (K K^T + q lambda K_0 K_0^T + K_p K_p^T)^-1
    D(W) = |W K_0 - V_0|_F^2,   q <- max(q + D(W) / (alpha D_0) - 1, 1)

(Wang et al. 2025, arXiv 2505.15702; wpwpwpyo/LyapLock, lyaplock/lyaplock_main.py and experiments/evaluate.py.) K_0 are
the keys of the second moment's text and V_0 what the unedited matrix makes of them, K_p and V_p those of the case's
earlier edits, D_0 is D after the first edit; W is the matrix before the edit. The release keeps a queue Z and a factor
a = 1 / sqrt(alpha D_0); only q = a Z is used. Target vector and residuals are MEMIT's.

`edit_queue` solves that without the matrix itself. Where the target vector lives: as MEMIT's, at the output of the last
edited block; families with a norm after the MLP are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.core import Batch
from pytest_editpitfalls.engine.locate_then_edit.layer_by_layer import LayerByLayer
from pytest_editpitfalls.engine.overlay import DenseDelta, LowRankDelta, break_even

from .edit_queue import EditQueue
from .hyperparameters import LyapLockHyperparameters


class LyapLock(LayerByLayer[LyapLockHyperparameters]):
    """The batched editor. See the module's docstring for the equations. A case's state: a `EditQueue` by layer."""

    name = "lyaplock"

    def _updates(
        self, batch: Batch, layer: int, residuals: Tensor, keys: Tensor
    ) -> tuple[Sequence[LowRankDelta | DenseDelta], list[Any]]:
        moment, hp = self._moments[layer], self._hp
        updates: list[LowRankDelta | DenseDelta] = []
        queues = []
        parts = zip(batch.before, batch.of_job(residuals), batch.of_job(keys), strict=True)
        for before, own, new in parts:
            queue = EditQueue.empty(own, new) if before.state is None else before.state[layer]
            after = queue.after(own.double(), new.double(), moment, weight=hp.mom2_update_weight, alpha=hp.alpha)
            updates.append(self._difference(layer, queue, after))
            queues.append(after)
        return updates, queues

    def _difference(self, layer: int, before: EditQueue, after: EditQueue) -> LowRankDelta | DenseDelta:
        """What the one has written more than the other."""
        if after.total is None:
            left, right = after.factors_beyond(before)
            if left.shape[1] <= break_even(*self._host.matrix_shape(layer)):
                return self._delta(layer, left, right)
        whole = (after.matrix() - before.matrix()).to(self._host.edit_dtype)
        return DenseDelta(self._host.down_projection_path(layer), whole.contiguous())

    def _state(self, before: Any, used: dict[int, Any]) -> Any:
        del before
        return used
