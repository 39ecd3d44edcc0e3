"""How the threads of matrix products wait for one another."""

from __future__ import annotations

import os
from collections.abc import MutableMapping

SPINS = "1000"


def spin_briefly(environment: MutableMapping[str, str] | None = None) -> None:
    """Let threads go to sleep soon at a barrier; to be called before torch is imported, which reads this once.

    GNU OpenMP's threads spin while they wait. Where another process wants a core, a thread spins for one that does not
    run: beside one busy process, products with two threads on two cores became fifteen times slower. What the user
    has set (``GOMP_SPINCOUNT`` or ``OMP_WAIT_POLICY``) stays.
    """
    environment = os.environ if environment is None else environment
    if not environment.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}:
        environment["GOMP_SPINCOUNT"] = SPINS
