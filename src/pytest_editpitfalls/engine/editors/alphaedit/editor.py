"""AlphaEdit: MEMIT in the null space of known keys (Fang et al. 2025, arXiv 2410.02355; jianghoucheng/AlphaEdit).

    Delta^T = (P (K K^T + K_p K_p^T) + L2 I)^-1 P K R^T

`null_space` says what P and K_p are. Where the target vector lives: as MEMIT's, at the output of the last edited block;
families with a norm after the MLP are refused by name.
"""

from pytest_editpitfalls.engine.locate_then_edit.null_space import NullSpaceEditor

from .hyperparameters import AlphaEditHyperparameters


class AlphaEdit(NullSpaceEditor[AlphaEditHyperparameters]):
    """The batched editor. See the module's docstring for the equations. A case's state: K_p by layer."""

    name = "alphaedit"
