"""FT-M: FT on the target's tokens, each given prompt and preceding target. `whole_matrices` has the equations."""

from pytest_editpitfalls.engine.fine_tuning.whole_matrices import FineTuning


class FtM(FineTuning):
    """The batched editor."""

    name = "ft-m"
