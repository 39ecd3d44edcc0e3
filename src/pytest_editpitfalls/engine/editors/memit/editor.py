"""MEMIT: several layers share the residual of one target vector (Meng et al. 2023, arXiv 2210.07229; kmeng01/memit).

    for each layer, ascending:  R = (z - h) / (layers left),  Delta = R (K^T A^-1 K + I)^-1 K^T A^-1,  A = lambda C

`layer_by_layer` says what is read when, and where the target vector lives.
"""

from pytest_editpitfalls.engine.locate_then_edit.layer_by_layer import LayerByLayer

from .hyperparameters import MemitHyperparameters


class Memit(LayerByLayer[MemitHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "memit"
