"""What a run asks of the engine. Torch-free, so that the command line can be checked before torch is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .walls import KnownWalls, Walls

CPU_CASES, GPU_CASES = 16, 256
"""The most cases per batch where ``batch_size`` is automatic: more do not make a run faster.

On a CPU, measured with ROME on the embedded model, one thread of a busy machine, processor time: 16 reverse cases
together 2.7 s each and 32 together 2.5 s (4 steps); alone 6.2 s and 4 together 4.5 s (8 steps). Twice as many gain 6 %,
which is within the noise, and keep the first answer waiting twice as long.

On a GPU a pass has 16,384 padded tokens and a ROME case about 200 of them in a step: 80 cases fill a pass, and with
three times as many passes stay full while the cases that have converged leave the batch (computed, not measured).
"""

BF16_WEIGHTS = "bf16-weights"
"""The dtype that is float32 with the matrices kept, and multiplied, in bfloat16 (`engine.bf16_weights`)."""


FETCH, SHOWN = "fetch and convert", 0.05
"""The stage in which a model is brought here, and from how many seconds on it is one."""


@dataclass(frozen=True)
class EngineSettings:
    """One model and how to run it.

    Attributes:
        model: name, Hugging Face id, directory or GGUF file.
        device: "auto" (cuda when there is one), "cpu", "cuda", "cuda:1".
        dtype: "float32", "bf16-weights", ...; None means float32 on a CPU and the checkpoint's own on a GPU.
        seed: seed of everything random (context templates, sampled second-moment text).
        batch_size: cases per batch; None means automatic.
        config_tables: the tables of ``--pitfalls-config``, by editor.
        overrides: ``--pitfalls-set`` values as typed, by editor.
        config_path: the file that ``config_tables`` came from; relative paths in it start there.
        processes: processes that share the memory of the device, this one included.
        walls: where the processes of a run tell one another which batches did not fit.
    """

    model: str
    device: str = "auto"
    dtype: str | None = None
    seed: int = 0
    batch_size: int | None = None
    config_tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config_path: Path | None = None
    processes: int = 1
    walls: Walls = field(default_factory=KnownWalls, compare=False, repr=False)


def chunk_size(batch_size: int | None, on_gpu: bool) -> int:
    """The most cases that a batch of any editor has: known without a model.

    Args:
        batch_size: `EngineSettings.batch_size`.
        on_gpu: whether the model runs on a GPU.
    """
    return batch_size or (GPU_CASES if on_gpu else CPU_CASES)


@dataclass(frozen=True)
class Progress:
    """How far a batch is: ``done`` of ``total`` units of ``stage`` ("edit", "score", "second moment", ...)."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True)
class Expected:
    """What earlier runs let expect of a run whose first batch begins.

    Attributes:
        cases: those that have no scores yet.
        seconds: what all of these will take, one behind another.
        batch: what the first batch will take.
        edits: the share of that which its edits take.
    """

    cases: int
    seconds: float
    batch: float
    edits: float


ProgressCallback = Callable[[Progress], None]


def silent(_: Progress) -> None:
    """A progress callback that does nothing."""


def as_part(progress: ProgressCallback, before: int, count: int, of: int) -> ProgressCallback:
    """Progress of ``count`` cases or steps as that of all ``of``, ``before`` of them done; other stages as they are."""

    def report(latest: Progress) -> None:
        done, total = latest.done, latest.total
        if latest.stage in {"edit", "score"}:
            done, total = before * total + count * done, of * total
        progress(Progress(latest.stage, done, total))

    return report
