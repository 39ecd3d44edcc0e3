"""PMET: target vectors for attention and MLP, of which only the MLP's is written (Li et al. 2024, arXiv 2308.08742).

    delta_mlp and delta_attn are learnt together, each with its own decay and clamp
    for each layer, ascending:  R = (z_mlp - v) / sqrt(layers left),  then MEMIT's closed form

with v what the down-projection of the last edited layer gives now. Once all target tokens are the likeliest, the log
probability counts a tenth, and the search stops where the KL term is at most 0.01 (xpq-tech/PMET, edit/pmet).

Where the target vectors live: at the outputs of the down-projection and of the attention's output projection of the
last edited layer. Norms behind them (Gemma 2, Gemma 3, post-norm OPT) are replayed in every step, and so is the MLP
where it reads what the attention wrote; where both run in parallel (GPT-J, GPT-NeoX) it does not.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from pytest_editpitfalls.engine.locate_then_edit.preserving import Preserving
from pytest_editpitfalls.engine.locate_then_edit.sites import Site
from pytest_editpitfalls.engine.locate_then_edit.target_vector import Relaxation, VectorObjective

from .hyperparameters import PmetHyperparameters

KL_ENOUGH = 0.01
"""Weighted KL term at which a request stops once its targets are the likeliest."""

RELAXED = 0.1
"""What the log probability's weight is multiplied by from then on."""


class Pmet(Preserving[PmetHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "pmet"
    sites: ClassVar[tuple[Site, ...]] = (Site.MLP, Site.ATTENTION)

    def _objective(self) -> VectorObjective:
        factor = self._hp.nll_loss_factor
        return replace(
            super()._objective(),
            nll_loss_factor=factor,
            relaxation=Relaxation(nll_factor=RELAXED * factor, kl_loss=KL_ENOUGH),
        )

    def _share(self, layers_left: int) -> float:
        return 1 / math.sqrt(layers_left)
