"""Progress of a training on the terminal."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SMOOTHING = 0.95
"""How much of the shown means is kept at each step."""


@dataclass(frozen=True)
class Validation:
    """Means over the validation examples.

    Attributes:
        total: the training loss.
        edit: mean negative log-probability of the target after a rephrasing.
        locality: mean KL divergence on other facts, nats.
        success: share of edits whose every target token is the likeliest one after the rephrasing.
    """

    total: float
    edit: float
    locality: float
    success: float

    def better_than(self, other: Validation | None, key: str) -> bool:
        """By the published ``early_stop_key``; any loss is better than NaN."""
        if other is None:
            return True
        if key == "edit/acc_val":
            return self.success > other.success
        return _comparable(self.total) < _comparable(other.total)

    def __str__(self) -> str:
        return f"loss {self.total:.4f} (edit {self.edit:.3f}, KL {self.locality:.4f}), edit success {self.success:.1%}"


class TrainingDisplay(contextlib.AbstractContextManager["TrainingDisplay"]):
    """A progress bar with smoothed loss and edit success, and a line for each validation.

    Args:
        command: what ``editpitfalls`` calls the training.
        total: edits to train on at most.
    """

    def __init__(self, console: Console, command: str, total: int) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn(command),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  edit success {task.fields[success]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task("train", total=total, loss="-", success="-")
        self._loss: float | None = None
        self._success: float | None = None

    def __enter__(self) -> TrainingDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, edits: int, loss: float, success: float) -> None:
        """After a step: edits so far, this step's mean loss and share of successful edits."""
        self._loss = _smooth(self._loss, loss)
        self._success = _smooth(self._success, success)
        self._bar.update(self._task, completed=edits, loss=f"{self._loss:.4f}", success=f"{self._success:.0%}")

    def validated(self, edits: int, found: Validation, best: bool) -> None:
        """After a validation."""
        self._console.print(f"after {edits} edits: {found}{', the best so far' if best else ''}")


def _comparable(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


def _smooth(before: float | None, now: float) -> float:
    return now if before is None else SMOOTHING * before + (1 - SMOOTHING) * now
