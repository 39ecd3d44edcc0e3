"""The one training loop of fine-tuning: Adam on parameters that each case has for itself, all cases in one batch.

Blocks below the lowest trained one run once; their hidden states are stored and replayed in every step. The head is
read only where the loss is. A case that has stopped leaves the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.fine_tuning.hyperparameters import Objective
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward, Rows
from pytest_editpitfalls.engine.settings import Progress, ProgressCallback, silent
from pytest_editpitfalls.engine.tokens import Encoder
from pytest_editpitfalls.errors import CaseError, UnscorableCase
from pytest_editpitfalls.program import EditRequest


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One request as a row of tokens.

    Attributes:
        number: place of the request among its job's.
        tokens: ids of the row.
        columns: where each of ``targets`` is read.
        targets: ids of the target's tokens.
        weight: what each target token's negative log-probability counts in the job's loss.
    """

    job: int
    number: int
    tokens: tuple[int, ...]
    columns: tuple[int, ...]
    targets: tuple[int, ...]
    weight: float


def training_rows(
    encoder: Encoder, job: int, requests: Sequence[EditRequest], objective: Objective
) -> list[TrainingRow]:
    """Rows of the requests that are written together; their losses, each a mean over its tokens, are averaged.

    Args:
        objective: ``prompt_last`` scores all target tokens at the last position of the prompt, as in
            kmeng01/memit (baselines/ft); ``target_new`` scores each given prompt and preceding target, as
            zjunlp/EasyEdit's objective of that name.

    Raises:
        UnscorableCase: a prompt or target has no tokens.
        CaseError: there are no requests.
    """
    if not requests:
        raise CaseError("there is nothing to write", fix="give the step at least one edit")
    rows = []
    for number, request in enumerate(requests):
        prompt, target = encoder.prompt(request.question), encoder.target(request.target_new, request.joiner)
        last = len(prompt) - 1
        forced = objective == "target_new"
        columns = tuple(range(last, last + len(target))) if forced else (last,) * len(target)
        tokens = prompt + target[:-1] if forced else prompt
        rows.append(TrainingRow(job, number, tokens, columns, target, 1 / (len(target) * len(requests))))
    return rows


class Batch:
    """Rows of nearly equal length that run together.

    Attributes:
        job: (rows,) index of each row's job.
        lengths: (rows,) tokens of each row.
        hidden: (rows, tokens, hidden) input of the lowest trained block; None where that is block 0.
    """

    def __init__(self, source: Sequence[TrainingRow], device: torch.device) -> None:
        self.source = tuple(source)
        self.rows = Rows.pad([row.tokens for row in source], device)
        self.hidden: Tensor | None = None
        self.job = torch.tensor([row.job for row in source], device=device)
        self.lengths = torch.tensor([len(row.tokens) for row in source], device=device)
        # The head is read once at a position, however many tokens are scored there.
        places = {(i, column): 0 for i, row in enumerate(source) for column in row.columns}
        places = {place: index for index, place in enumerate(places)}
        at = torch.tensor(list(places), device=device)
        self._at_row, self._at_column = at[:, 0], at[:, 1]
        read = [
            (places[i, column], token, row.job)
            for i, row in enumerate(source)
            for column, token in zip(row.columns, row.targets, strict=True)
        ]
        self._place, self._token, self._job_of_token = torch.tensor(read, device=device).T
        self._weight = [row.weight for row in source for _ in row.targets]

    def without(self, stopped: set[int]) -> Batch | None:
        """The rows of the jobs that go on; None where there are none."""
        keep = [i for i, row in enumerate(self.source) if row.job not in stopped]
        if len(keep) == len(self.source):
            return self
        if not keep:
            return None
        batch = Batch([self.source[i] for i in keep], self.job.device)
        if self.hidden is not None:
            batch.hidden = self.hidden[keep, : batch.rows.ids.shape[1]]
        return batch

    def losses(self, forward: Forward, first: int, jobs: int) -> Tensor:
        """(jobs,) what these rows add to each job's loss. Runs the blocks from ``first`` on."""
        hidden = forward.blocks(self.rows, first=first, hidden=self.hidden)
        logits = forward.head(hidden[self._at_row, self._at_column])
        log_p = logits.log_softmax(dim=1)[self._place, self._token]
        weighted = -log_p * log_p.new_tensor(self._weight)
        return log_p.new_zeros(jobs).index_add(0, self._job_of_token, weighted)


class Trainable(Protocol):
    """What is trained: parameters that belong to single jobs, and the model that answers with them."""

    def parameters(self) -> list[Tensor]:
        """Leaf tensors, all with ``requires_grad``."""

    def lowest_layer(self) -> int:
        """Index of the lowest block that differs from the base model's."""

    def applied(self, batch: Batch) -> AbstractContextManager[object]:
        """While open, each row of ``batch`` is answered by its own job's model."""

    def before_step(self, stopped: set[int]) -> None:
        """Gradients are there: complete them, and remove those of the jobs that have stopped."""

    def after_step(self) -> None:
        """Adam has stepped: project."""


N = TypeVar("N", bound=Trainable)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast.

    Attributes:
        num_steps: steps at most.
        lr: Adam's learning rate.
        weight_decay: Adam's weight decay (added to the gradient, as torch's Adam does).
        stop_below: a job whose loss is under this does not step and stops; None trains to the end.
    """

    num_steps: int
    lr: float
    weight_decay: float = 0.0
    stop_below: float | None = None


def train_jobs(
    resources: EditorResources,
    jobs: Sequence[EditJob],
    objective: Objective,
    schedule: Schedule,
    start: Callable[[list[EditJob], list[TrainingRow]], N],
    finish: Callable[[N, int, EditJob], EditResult],
    progress: ProgressCallback = silent,
) -> list[EditResult]:
    """Train all jobs; one without rows, or whose loss is not finite, is an error of its own.

    Args:
        start: makes what is trained, of the jobs that have rows and these rows, whose ``job`` counts those jobs.
        finish: makes a job's result of what was trained and the job's place in it.
    """
    results = [EditResult() for _ in jobs]
    rows: list[TrainingRow] = []
    good: list[int] = []
    for index, job in enumerate(jobs):
        try:
            rows += training_rows(resources.host.encoder, len(good), job.requests, objective)
        except (CaseError, UnscorableCase) as error:
            results[index] = EditResult(error=f"edit {job.step}: {error}")
            continue
        good.append(index)
    if not good:
        return results
    trainable = start([jobs[index] for index in good], rows)
    failed = train(resources.forward, trainable, rows, schedule, max_tokens=resources.max_tokens, progress=progress)
    for place, index in enumerate(good):
        if place in failed:
            results[index] = EditResult(error=f"edit {jobs[index].step}: {failed[place]}")
        else:
            results[index] = finish(trainable, place, jobs[index])
    return results


def train(
    forward: Forward,
    trainable: Trainable,
    rows: Sequence[TrainingRow],
    schedule: Schedule,
    *,
    max_tokens: int,
    progress: ProgressCallback = silent,
) -> dict[int, str]:
    """Train every job's own parameters in place. Jobs do not influence one another.

    Args:
        trainable: the parameters and their application.
        rows: rows of all jobs, which are counted from 0.
        max_tokens: padded tokens of one pass.

    Returns:
        By job, why it failed: its loss was not finite.
    """
    first, count = trainable.lowest_layer(), 1 + max(row.job for row in rows)
    batches = _batches(forward, rows, first, max_tokens)
    adam = torch.optim.Adam(trainable.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
    stopped: set[int] = set()
    failed: dict[int, str] = {}
    for step in range(schedule.num_steps):
        adam.zero_grad(set_to_none=True)
        values = [0.0] * count
        for batch in batches:
            # One graph at a time: gradients of several batches add up in the parameters.
            with torch.enable_grad(), trainable.applied(batch):
                losses = batch.losses(forward, first, count)
                losses.sum().backward()
            values = [value + new for value, new in zip(values, losses.tolist(), strict=True)]
        for job in set(range(count)) - stopped:
            if not math.isfinite(values[job]):
                failed[job] = _diverged(values[job], step, schedule.lr)
            if job in failed or (schedule.stop_below is not None and values[job] < schedule.stop_below):
                stopped.add(job)
        if len(stopped) == count:
            break
        trainable.before_step(stopped)
        adam.step()
        trainable.after_step()
        batches = [left for batch in batches if (left := batch.without(stopped)) is not None]
        progress(Progress("edit", step + 1, schedule.num_steps))
    return failed


def _batches(forward: Forward, rows: Sequence[TrainingRow], first: int, max_tokens: int) -> list[Batch]:
    cut = buckets([len(row.tokens) for row in rows], max_tokens=max_tokens, slack=LAUNCH_TOKENS)
    batches = [Batch([rows[i] for i in sorted(chosen)], forward.host.device) for chosen in cut]
    if first > 0:
        for batch in batches:
            with torch.no_grad():
                batch.hidden = forward.blocks(batch.rows, last=first)
    return batches


def _diverged(loss: float, step: int, lr: float) -> str:
    when = "before the first step" if step == 0 else f"after {step} step(s)"
    why = "the model itself cannot score the edit" if step == 0 else f"the edit diverges; lower lr ({lr:g})"
    return f"the loss is {loss} {when}: {why}"
