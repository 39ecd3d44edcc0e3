"""ROME: a rank-one update of one down-projection (Meng et al. 2022, arXiv 2202.05262; kmeng01/rome).

    u = C^-1 k_mean / |C^-1 k_mean|        k_mean: key averaged over the context templates
    Delta = (v_0 + delta - v_bare) u^T / (u^T k_bare)

As released, u is made of k_mean and the divisor of k_bare: where the two differ, the divisor can be tiny (`rank_one`).
"""

from __future__ import annotations

from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.rank_one import RankOneEditor
from pytest_editpitfalls.engine.locate_then_edit.subject_states import Readings
from pytest_editpitfalls.engine.locate_then_edit.target_vector import TargetVectors

from .hyperparameters import RomeHyperparameters


class Rome(RankOneEditor[RomeHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "rome"

    def _parts(self, readings: Readings, vectors: TargetVectors) -> tuple[Tensor, Tensor, Tensor]:
        # v_0 is the bare row's value of this very model, so v_0 + delta - v_bare is delta.
        return readings.keys, readings.bare_keys, vectors.delta[:, 0]
