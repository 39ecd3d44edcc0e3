"""FT: Adam on one whole down-projection, unconstrained. `whole_matrices` has the equations."""

from pytest_editpitfalls.engine.fine_tuning.whole_matrices import FineTuning


class Ft(FineTuning):
    """The batched editor."""

    name = "ft"
