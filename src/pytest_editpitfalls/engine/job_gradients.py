"""Token gradients of the requests of many independent jobs, each at its own edited model, in few passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback
from pytest_editpitfalls.engine.token_gradients import (
    Matrix,
    TargetBatch,
    TargetRow,
    TokenGradients,
    token_gradients,
)
from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import CaseError, UnscorableCase
from pytest_editpitfalls.program import EditRequest

Loss = Literal["mean over requests", "mean over tokens", "sum over tokens"]
"""What a job's gradients are of: its requests' mean negative log-probabilities per token, averaged; or the negative
log-probabilities of all their tokens, averaged or summed."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """One request's tokens.

    Attributes:
        job: number of its job.
        place: its place among the job's requests.
        weight: what its mean negative log-probability per token counts in its job's loss.
    """

    job: int
    place: int
    tokens: TargetRow
    weight: float


@dataclass(frozen=True)
class RowGradients:
    """Rows that went through the model together.

    Attributes:
        rows: the rows.
        batch: their tokens.
        gradients: one entry per matrix.
    """

    rows: list[JobRow]
    batch: TargetBatch
    gradients: list[TokenGradients]


def target_row(encoder: Encoder, request: EditRequest) -> TargetRow:
    """A request's prompt and target as tokens.

    Raises:
        CaseError: the prompt has no ``{}``.
        UnscorableCase: the target has no tokens.
    """
    if "{}" not in request.prompt:
        raise CaseError(
            f"the rewrite prompt {request.prompt!r} has no {{}}",
            fix="put {} where the subject belongs in the prompt",
        )
    return TargetRow(encoder.prompt(request.question), encoder.target(request.target_new, request.joiner))


def job_rows(
    encoder: Encoder, jobs: Sequence[EditJob], results: list[EditResult], loss: Loss = "mean over requests"
) -> list[JobRow]:
    """The rows of all jobs; a job that has none gets its error in ``results``."""
    rows: list[JobRow] = []
    for index, job in enumerate(jobs):
        try:
            own = [target_row(encoder, request) for request in job.requests]
        except (CaseError, UnscorableCase) as error:
            results[index] = EditResult(error=f"edit {job.step}: {error}")
            continue
        rows += rows_of(own, loss, job=index)
    return rows


def rows_of(requests: Sequence[TargetRow], loss: Loss, *, job: int = 0) -> list[JobRow]:
    """The rows of the requests of one job."""
    tokens = sum(len(each.target) for each in requests)
    found = []
    for place, each in enumerate(requests):
        weight = {
            "mean over requests": 1 / len(requests),
            "mean over tokens": len(each.target) / tokens,
            "sum over tokens": len(each.target),
        }[loss]
        found.append(JobRow(job, place, each, weight))
    return found


def job_gradients(
    resources: EditorResources,
    jobs: Sequence[EditJob],
    rows: Sequence[JobRow],
    matrices: Sequence[Matrix],
    progress: ProgressCallback,
) -> Iterator[RowGradients]:
    """Gradients of all ``rows`` at their jobs' models."""
    overlay = Overlay(resources.host, [job.model for job in jobs])
    done = 0
    for found in row_gradients(resources.forward, overlay, rows, matrices, max_tokens=resources.max_tokens):
        yield found
        done += len(found.rows)
        progress(Progress("edit", done, len(rows)))


def row_gradients(
    forward: Forward,
    overlay: Overlay,
    rows: Sequence[JobRow],
    matrices: Sequence[Matrix],
    *,
    max_tokens: int,
    first: int = 0,
    lower: Callable[[Sequence[tuple[int, ...]]], Tensor | None] | None = None,
) -> Iterator[RowGradients]:
    """Gradients of all ``rows``, those of nearly equal length together; a row's do not depend on the others.

    Args:
        overlay: the edited models; a row's is that of its job's number.
        first: first block that runs; above 0 ``lower`` gives its input for rows of tokens.
    """
    host = forward.host
    lengths = [len(row.tokens.ids) for row in rows]
    for bucket in buckets(lengths, max_tokens=max_tokens, max_waste=0.15, slack=LAUNCH_TOKENS):
        chosen = [rows[place] for place in bucket]
        batch = TargetBatch.of([row.tokens for row in chosen], host.device)
        weight = torch.tensor([row.weight for row in chosen], device=host.device, dtype=host.edit_dtype)
        models = torch.tensor([row.job for row in chosen], device=host.device)
        hidden = None if lower is None else lower([row.tokens.ids for row in chosen])
        with overlay.rows(models, batch.real.sum(dim=1)):
            gradients = token_gradients(forward, batch, matrices, weight, first=first, hidden=hidden)
        yield RowGradients(chosen, batch, gradients)
