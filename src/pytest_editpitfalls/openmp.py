"""How the threads of matrix products wait for one another."""

from __future__ import annotations

import os
import sys
from collections.abc import Container, MutableMapping

SPINS = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}
"""What makes threads sleep soon, by the variable of each runtime: GNU's (turns of a loop), Intel's and LLVM's (ms)."""

_OTHERS = {"GOMP_SPINCOUNT": ("OMP_WAIT_POLICY",), "KMP_BLOCKTIME": ("OMP_WAIT_POLICY", "KMP_LIBRARY")}
"""Variables that say the same in another way."""

TOO_LATE = (
    "torch was imported before this plugin (by another plugin, or -p): its threads spin while they wait, and beside "
    "other work on this machine a run takes many times as long; set GOMP_SPINCOUNT=1000 before pytest starts"
)
"""What a run says where `spin_briefly` came too late for it."""


def spin_briefly(environment: MutableMapping[str, str] | None = None, imported: Container[str] | None = None) -> bool:
    """Let threads go to sleep soon at a barrier; to be called before torch is imported, which reads this once.

    OpenMP's threads spin while they wait. Where another process wants a core, a thread spins for one that does not
    run: beside one busy process, products with two threads on two cores became fifteen times slower with GNU's
    runtime. What the user has set stays. Processes that this one starts inherit it.

    Args:
        environment: of this process.
        imported: names of imported modules.

    Returns:
        Whether it was in time: False where torch is imported already and will not look again.
    """
    environment = os.environ if environment is None else environment
    imported = sys.modules if imported is None else imported
    wanted = [name for name in SPINS if not environment.keys() & {name, *_OTHERS[name]}]
    environment.update((name, SPINS[name]) for name in wanted)
    return not wanted or "torch" not in imported
