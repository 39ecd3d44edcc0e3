"""ROME: a rank-one update of one down-projection (Meng et al. 2022, arXiv 2202.05262; kmeng01/rome).

    u = C^-1 k_mean / |C^-1 k_mean|        k_mean: key averaged over the context templates
    Delta = (v_0 + delta - v_bare) u^T / (u^T k_bare)

The norm of u cancels; the mixture of k_mean (in u) and k_bare (in the divisor) does not: a tiny divisor makes a huge,
model-breaking update (field notes 2). It is reported with the case.

Where the target vector lives: at the output of the down-projection. In families with a norm after the MLP (Gemma 2,
Gemma 3, post-norm OPT) it sits before that norm, which is replayed in every step.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar

from torch import Tensor

from pytest_editpitfalls.engine.editors.hyperparameters.locate_then_edit import RomeHyperparameters
from pytest_editpitfalls.engine.sampling import context_templates

from .core import Batch, LocateThenEdit, Written
from .keys import Readings, TemplateMeans
from .sites import Site
from .target_vector import TargetVectors

SMALL_DIVISOR = 0.1
"""Cosine between C^-1 k_mean and k_bare, relative to that with k_mean, under which a case is marked."""

R = TypeVar("R", bound=RomeHyperparameters)


class RankOneEditor(LocateThenEdit[R]):
    """One layer, one request at a time: Delta = r (C^-1 k)^T / ((C^-1 k)^T k') (gamma = 0 in the closed form)."""

    sites: ClassVar[tuple[Site, ...]] = (Site.MLP,)
    together: ClassVar[bool] = False

    def _sample_templates(self) -> list[str]:
        return context_templates(
            self._host,
            [(length, count) for length, count in self._hp.context_template_length_params],
            seed=self._resources.settings.seed,
        )

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


class Rome(RankOneEditor[RomeHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "rome"

    def _parts(self, readings: Readings, vectors: TargetVectors) -> tuple[Tensor, Tensor, Tensor]:
        # v_0 is the bare row's value of this very model, so v_0 + delta - v_bare is delta.
        return readings.keys, readings.bare_keys, vectors.delta[:, 0]


def _readings(batch: Batch, vectors: TargetVectors) -> Readings:
    """Keys and values of the edited layer, which the search for the target vectors has seen already."""
    (taken,) = vectors.taken
    places = [place for place, row in enumerate(batch.rows) if row.target]
    means = TemplateMeans(
        [batch.rows[place] for place in places],
        len(batch.owner),
        grouped=False,
        device=taken.got.device,
        dtype=taken.got.dtype,
    )
    return means.readings(taken.got[places], taken.gave[places])


def _notes(step: int, divisor: float) -> tuple[str, ...]:
    if abs(divisor) >= SMALL_DIVISOR:
        return ()
    return (
        f"tiny divisor at edit {step}: u.k_bare is {divisor:.3g} of u.k_mean, the update is "
        f"{1 / max(abs(divisor), 1e-30):.3g} times too large (keys of prefixed and bare prompt differ)",
    )
