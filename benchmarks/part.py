"""What a part of ``python -m benchmarks`` is: a module of its name with ``measure(asked: Asked) -> Measured``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What the command line asks of every part.

    Attributes:
        quick: fewer cases and repetitions: all quick parts together shall end within five minutes on two cores.
        device: "cpu" or "cuda".
        model: name of the model that real cases are measured on.
        against: a checkout of the benchmark's released code, or None.
        edits: of a chain, where another number than the usual one is asked for.
        checkouts: directory with checkouts of repositories that have editors, or None.
        kept: directory where part "elsewhere" keeps what it has measured, and takes it from; None keeps nothing.
        budget: seconds that part "gpu" may take, where other than the usual ones are asked for.
        keep: takes what a long part has found so far, so that nothing is lost where it is broken off.
    """

    quick: bool
    device: str
    model: str
    against: Path | None = None
    edits: int | None = None
    checkouts: Path | None = None
    kept: Path | None = None
    budget: float | None = None
    keep: Callable[[Measured], None] = field(default=lambda _: None, compare=False)


@dataclass(frozen=True)
class Measured:
    """What a part found.

    Attributes:
        figures: everything that was measured, as plain JSON types, units in the keys.
        ratios: the part's share of the document's ``ratios``: "rome.flops" and the like, the other way's cost over
            ours.
        markdown: a section of ``docs/performance.md``, from its heading (level 2) on, made of ``figures`` only.
    """

    figures: dict[str, Any]
    markdown: str
    ratios: dict[str, float] = field(default_factory=dict)
