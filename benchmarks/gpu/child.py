"""The process that measures: ``python -m benchmarks.gpu.child ORDER EVENTS``, started by `supervisor`.

Writes one event of JSON a line into EVENTS (`steps.run` says which), each at once. Ends with `supervisor.DEVICE_LOST`
where CUDA refuses to go on in this process.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import IO, Any


def main(arguments: list[str]) -> int:
    order: dict[str, Any] = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    with Path(arguments[1]).open("a", encoding="utf-8") as events:
        return obey(order, events)


def obey(order: dict[str, Any], events: IO[str]) -> int:
    """Run the steps of an order; returns the exit status."""
    from transformers.utils.logging import disable_progress_bar

    from . import steps
    from .recorder import DeviceLost
    from .supervisor import DEVICE_LOST

    disable_progress_bar()

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    wanted = [each for each in steps.steps(order["sizes"]) if each.name in order["steps"]]
    try:
        steps.run(
            wanted,
            sizes=order["sizes"],
            device=order["device"],
            seconds=order["end"] - time.time(),
            emit=emit,
            known=order["known"],
        )
    except DeviceLost as error:
        print(f"the GPU is lost for this process: {error}", file=sys.stderr)
        return DEVICE_LOST
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # nothing waits for a GPU that answers no more
