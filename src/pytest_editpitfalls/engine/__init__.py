"""The engine: many edited models in one forward pass. torch and transformers are imported here and only here.

Start at :mod:`.session` (what the plugin talks to), then :mod:`.runner` (one batch through all its edits and probes),
:mod:`.forward` (parts of the model), :mod:`.overlay` (deltas by row) and :mod:`.editors`.
"""

from pytest_editpitfalls.openmp import spin_briefly

spin_briefly()
