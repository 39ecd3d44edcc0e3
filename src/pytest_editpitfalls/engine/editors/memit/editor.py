"""MEMIT: several layers share the residual of one target vector (Meng et al. 2023, arXiv 2210.07229; kmeng01/memit).

    for each layer, ascending:  R = (z - h) / (layers left),  Delta = R (K^T A^-1 K + I)^-1 K^T A^-1,  A = lambda C

`layer_by_layer` says what is read when, and where the target vector lives; `preserving` what A may have besides.
"""

from pytest_editpitfalls.engine.locate_then_edit.preserving import Preserving

from .hyperparameters import MemitHyperparameters


class Memit(Preserving[MemitHyperparameters]):
    """The batched editor. See the module's docstring for the equations."""

    name = "memit"
