"""ENCORE: MEMIT that stops early, bounds its norm and preserves earlier edits (Gupta et al. 2025, arXiv 2502.01636).

    Delta = R K^T (lambda C + lambda_n I + K_p K_p^T + K K^T)^-1

with K_p the keys of all earlier edits of the case. The search for a target vector ends at the ``-prob_cutoff``-th step
in which the target is the likeliest in all prefixed prompts (scalable-model-editing/encore, encore/). Everything here
is an option of MEMIT, EMMET and PMET, too: ``prob_cutoff`` (`target_vector`), ``update_norm_lambda`` and
``add_prev_edits`` (`preserving`).

Where the target vector lives: as MEMIT's, at the output of the last edited block; families with a norm after the MLP
are refused by name.
"""

from pytest_editpitfalls.engine.locate_then_edit.preserving import Preserving

from .hyperparameters import EncoreHyperparameters


class Encore(Preserving[EncoreHyperparameters]):
    """The batched editor. See the module's docstring for the equations. A case's state: K_p by layer."""

    name = "encore"
