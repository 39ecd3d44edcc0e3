"""NAS: AlphaEdit whose value vectors get the norm that is usual in the unedited model (arXiv 2602.02543).

    v* = v_0 + delta;  v* <- v_0 where |v*| > 2 m,  otherwise v* <- m v* / |v*|

and then AlphaEdit (SasyaTitech/NAS, NAS/). Any editor that locates does that to its value vectors with ``nas = true``;
`anchoring` says what m is.
"""

from pytest_editpitfalls.engine.locate_then_edit.null_space import NullSpaceEditor

from .hyperparameters import NasHyperparameters


class Nas(NullSpaceEditor[NasHyperparameters]):
    """The batched editor. See the module's docstring for the equations. A case's state: K_p by layer."""

    name = "nas"
