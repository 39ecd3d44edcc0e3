"""An edited checkpoint in an editor's place: whatever edit a case asks for has been made already.

Base and edited model are one model object, in which the weights that differ are exchanged for the passes of the
edited one (`overlay.difference`), so that each answer is what that checkpoint answers, up to the rounding of other
matrix products (`prepacked`): no delta is added to an output, and norms, embeddings and experts count as any matrix
does. All cases have one edited model, so their rows share passes, and it is kept once: the memory is that of the
weights that differ, at most a second model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.models.placement import HALVES
from pytest_editpitfalls.engine.models.source import resolve
from pytest_editpitfalls.engine.settings import ProgressCallback, silent
from pytest_editpitfalls.errors import UsageError

from .comparison import Comparison, WeightChange, compare
from .opening import open_edited
from .source import EditedSource, edited_source

_MODEL = 1
"""The step after which a case stands at the edited checkpoint."""


@dataclass
class EditedCheckpoint:
    """Gives every case the edited checkpoint.

    Attributes:
        name: its label.
        edited: where it came from.
        found: how it differs from the base model.
        dtype: what both were loaded in.
        base: the base model, as it was typed.
    """

    name: str
    edited: EditedSource
    found: Comparison
    dtype: str
    base: str

    @classmethod
    def open(cls, name: str, checkpoint: str, resources: EditorResources) -> EditedCheckpoint:
        """Load the checkpoint and compare it with the base model.

        Raises:
            UsageError: as `edited_source` and `open_edited`; or nothing differs.
        """
        host, base = resources.host, resolve(resources.settings.model)
        edited = edited_source(checkpoint, base)
        found = compare(host.model, open_edited(edited, base, host))
        dtype = host.precision
        if not any(change.edited for change in found.changes):
            raise _nothing_differs(checkpoint, resources.settings.model, found, dtype)
        return cls(name, edited, found, dtype, resources.settings.model)

    def prepare(self, progress: ProgressCallback = silent) -> None:
        """Nothing is left to be done."""

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """The edited checkpoint for each job; a second edit is an error, since it is one model."""
        return [
            EditResult(model=self.found.model)
            if job.step == _MODEL and not job.model
            else EditResult(error=f"edit {job.step}: the edited checkpoint is one model, with all edits in it")
            for job in jobs
        ]

    @property
    def remarks(self) -> list[str]:
        """What is to be known of the checkpoint besides its weights, one remark a line."""
        rounded = [change for change in self.found.changes if change.rounded is not None]
        remarks = []
        if rounded:
            half = str(rounded[0].rounded).removeprefix("torch.")
            alone = [change for change in rounded if not change.edited]
            largest = max(change.change for change in alone) if alone else 0.0
            remarks.append(
                f"its weights were rounded to {half}, those of the base were not: {len(alone)} of "
                f"{self.found.compared} weights differ by that alone (by {largest:.1e} at most) and are not listed; "
                f"what the run finds includes the rounding, and --pitfalls-dtype={half} rounds the base as well"
            )
        if self.edited.adapter is not None and not _is_same(self.edited.adapter.base, self.base):
            remarks.append(
                f"the LoRA adapter was trained on '{self.edited.adapter.base}', and is merged into --base here"
            )
        return remarks

    def describe(self) -> dict[str, Any]:
        """Where it came from, and the weights that differ."""
        return {
            "editor": self.name,
            "hyperparameters": {},
            "checkpoint": {
                "source": self.edited.name,
                "form": self.edited.form,
                "digest": self.found.digest,
                "compared": self.found.compared,
                "remarks": self.remarks,
                "edited_weights": [_described(change) for change in self.found.changes if change.edited],
            },
        }


def _is_same(trained_on: str, base: str) -> bool:
    """Whether an adapter's base is the one that was typed; also where the adapter names none."""
    return not trained_on or trained_on == base or Path(trained_on).resolve() == Path(base).resolve()


def _described(change: WeightChange) -> dict[str, Any]:
    return {
        "name": change.name,
        "shape": list(change.shape),
        "change": change.change if math.isfinite(change.change) else None,
        "entries": change.entries,
        "rank": change.rank,
    }


def _nothing_differs(checkpoint: str, base: str, found: Comparison, dtype: str) -> UsageError:
    where, fix = f"--edited={checkpoint}", "check that the edits were saved, and that --base is the model before them"
    if found.changes:
        half = str(found.changes[0].rounded).removeprefix("torch.")
        what = f"{len(found.changes)} of its {found.compared} weights differ from {base}, all by rounding to {half}"
        return UsageError(f"{what} alone: no edit is in it", where=where, fix=fix)
    what = f"nothing differs: all {found.compared} weights are those of {base}"
    if dtype in HALVES:
        what += f", in {dtype}"
        fix += f"; a small edit may be lost in {dtype}: --pitfalls-dtype=float32 shows it"
    return UsageError(what, where=where, fix=fix)
