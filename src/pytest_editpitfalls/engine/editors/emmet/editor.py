"""EMMET: MEMIT's target vector written into one layer under equality constraints (Gupta et al. 2024, arXiv 2403.14236).

    Delta = (z - h) (K^T A^-1 K + gamma I)^-1 K^T A^-1,  A = mom2_update_weight C,  gamma = emmet_lambda

As in the authors' release, gamma is added only where several requests are written together: a single one is written
exactly, whatever A's weight. EasyEdit adds it always.
"""

from pytest_editpitfalls.engine.locate_then_edit.preserving import Preserving

from .hyperparameters import EmmetHyperparameters


class Emmet(Preserving[EmmetHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "emmet"

    def _gamma(self, requests: int) -> float:
        return self._hp.emmet_lambda if requests > 1 else 0.0
