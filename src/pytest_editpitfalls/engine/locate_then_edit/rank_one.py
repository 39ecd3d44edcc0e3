"""One rank-one update of one down-projection per request: what ROME and r-ROME share.

    u = C^-1 k / |C^-1 k|,  Delta = r u^T / (u^T k')

The norm of u cancels. Where k' is another key than k, the divisor u^T k' can be tiny, and the update is then so large
that it breaks the model (Gupta et al. 2024, arXiv 2403.07175). A tiny divisor is reported with the case.

Where the target vector lives: at the output of the down-projection. In families with a norm after the MLP (Gemma 2,
Gemma 3, post-norm OPT) it sits before that norm, which is replayed in every step.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import RankOneHyperparameters

from .core import Batch, LocateThenEdit, Written
from .sites import Site
from .subject_states import Readings, TemplateMeans
from .target_vector import TargetVectors

SMALL_DIVISOR = 0.1
"""Cosine between C^-1 k_mean and k_bare, relative to that with k_mean, under which a case is marked."""

R = TypeVar("R", bound=RankOneHyperparameters)


class RankOneEditor(LocateThenEdit[R]):
    """One layer, one request at a time: Delta = r (C^-1 k)^T / ((C^-1 k)^T k') (gamma = 0 in the closed form)."""

    sites: ClassVar[tuple[Site, ...]] = (Site.MLP,)
    together: ClassVar[bool] = False

    def _write(self, batch: Batch, vectors: TargetVectors) -> list[Written]:
        (layer,) = self._layers
        key, divided_by, residual = self._parts(_readings(batch, vectors), vectors)
        right = self._moments[layer].solve(key) if self._hp.mom2_adjustment else key.double()
        right = right / right.norm(dim=1, keepdim=True)
        divisor = (right * divided_by).sum(dim=1)
        relative = divisor / (right * key).sum(dim=1)
        left = residual.double() / divisor[:, None]
        return [
            Written((self._delta(layer, u[:, None], v[:, None]),), notes=_notes(job.step, float(share)))
            for job, u, v, share in zip(batch.jobs, left, right, relative, strict=True)
        ]

    @abstractmethod
    def _parts(self, readings: Readings, vectors: TargetVectors) -> tuple[Tensor, Tensor, Tensor]:
        """k in u, k' in the divisor, both (n, d_k), and the residual (n, d_o)."""


def _readings(batch: Batch, vectors: TargetVectors) -> Readings:
    """Keys and values of the edited layer, which the search for the target vectors has seen already."""
    (captured,) = vectors.captured
    places = [place for place, row in enumerate(batch.rows) if row.target]
    means = TemplateMeans(
        [batch.rows[place] for place in places],
        len(batch.owner),
        grouped=False,
        device=captured.inputs.device,
        dtype=captured.inputs.dtype,
    )
    return means.readings(captured.inputs[places], captured.outputs[places])


def _notes(step: int, divisor: float) -> tuple[str, ...]:
    if abs(divisor) >= SMALL_DIVISOR:
        return ()
    return (
        f"tiny divisor at edit {step}: u.k_bare is {divisor:.3g} of u.k_mean, the update is "
        f"{1 / max(abs(divisor), 1e-30):.3g} times too large (keys of prefixed and bare prompt differ)",
    )
