"""FT-L: FT whose entries stay near their values at the start of the edit. `whole_matrices` has the equations."""

from pytest_editpitfalls.engine.fine_tuning.whole_matrices import FineTuning


class FtL(FineTuning):
    """The batched editor."""

    name = "ft-l"
