"""Operations and peak memory of one way, in a process of its own: memory that another way left behind does not count.

    python -m benchmarks.isolated reference rome --cases 2 --of 4 --model smollm2-135m --device cpu

Prints one line of JSON. `measure` starts that process and reads the line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pytest_editpitfalls.errors import UsageError

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Counted:
    """What one way takes.

    Attributes:
        cases: cases whose operations were counted.
        operations: floating-point operations of all of them.
        scoring: those of the scoring among them; None where the reference scores.
        peak_mb: the most memory of the process (CPU) or of the GPU, automatic batches with all cases.
        loaded_mb: the same before: model, second moments and libraries.
    """

    cases: int
    operations: int
    scoring: int | None
    peak_mb: float
    loaded_mb: float


@dataclass(frozen=True)
class Order:
    """What shall be counted: the first ``cases`` of the ``of`` programs that the benchmark measures."""

    way: str
    editor: str
    cases: int
    of: int
    model: str
    device: str


def measure(order: Order, threads: int | None = None) -> Counted:
    """Count in a new process.

    Args:
        threads: torch's threads there; None means as many as here.

    Raises:
        UsageError: the process failed; the message holds its last line.
    """
    command = [sys.executable, "-m", "benchmarks.isolated", order.way, order.editor]
    for name in ("cases", "of", "model", "device"):
        command += [f"--{name}", str(getattr(order, name))]
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UsageError(
            f"counting '{order.way}' of {order.editor} failed: {lines[-1]}",
            where="python -m benchmarks.isolated",
            fix=f"run it by itself to see more: {' '.join(command[1:])}",
        )
    return Counted(**json.loads(done.stdout.strip().splitlines()[-1]))


def count(order: Order) -> Counted:
    """Count in this process."""
    import torch

    from . import machine, operations
    from .programs import reverse_programs
    from .ways import AUTOMATIC, Ways, open_session

    programs = reverse_programs(order.of)
    ways = Ways(open_session(order.model, order.device), order.editor)
    on_gpu = order.device != "cpu"
    machine.forget_peak()
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    loaded = torch.cuda.memory_allocated() / 1e6 if on_gpu else machine.resident_mb()
    with _counting_scoring() as scoring:
        total = operations.count(lambda: ways.run(order.way, programs[: order.cases]))
    if order.way == AUTOMATIC and order.cases < order.of:
        ways.run(order.way, programs)  # the batch whose memory is asked for
    peak = torch.cuda.max_memory_allocated() / 1e6 if on_gpu else machine.peak_mb()
    return Counted(order.cases, total, sum(scoring) if scoring else None, round(peak, 1), round(loaded, 1))


@contextmanager
def _counting_scoring() -> Iterator[list[int]]:
    """While open, the operations of each batch's scoring are added to the list, besides being counted elsewhere."""
    from pytest_editpitfalls.engine import runner

    from . import operations

    found: list[int] = []
    score = runner._score

    def counted(*arguments: Any, **options: Any) -> None:
        found.append(operations.count(lambda: score(*arguments, **options)))

    with patch.object(runner, "_score", counted):
        yield found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.isolated", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("way")
    parser.add_argument("editor")
    parser.add_argument("--cases", type=int, default=1)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--device", default="cpu")
    print(json.dumps(asdict(count(Order(**vars(parser.parse_args(arguments)))))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
