"""r-ROME: ROME with one and the same key everywhere (Gupta et al. 2024, arXiv 2403.07175; zjunlp/EasyEdit r_rome).

    u = C^-1 k / |C^-1 k|,  Delta = (v_0 + delta - v) u^T / (u^T k)

with k and v averaged over the context templates (``enable_random_prefix_keys``), or both of the bare prompt
(``enable_prompt_keys``, where v = v_0). The divisor is then positive and never tiny. The published files leave C out
(``mom2_adjustment`` false), so that u is along k itself.

Where the target vector lives: as ROME's, at the output of the down-projection, before a norm that may follow it.
"""

from __future__ import annotations

from torch import Tensor

from pytest_editpitfalls.engine.locate_then_edit.rank_one import RankOneEditor
from pytest_editpitfalls.engine.locate_then_edit.subject_states import Readings
from pytest_editpitfalls.engine.locate_then_edit.target_vector import TargetVectors

from .hyperparameters import RRomeHyperparameters


class RRome(RankOneEditor[RRomeHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "r-rome"

    def _parts(self, readings: Readings, vectors: TargetVectors) -> tuple[Tensor, Tensor, Tensor]:
        if self._hp.enable_prompt_keys:
            return readings.bare_keys, readings.bare_keys, vectors.delta[:, 0]
        return readings.keys, readings.keys, vectors.target() - readings.values
