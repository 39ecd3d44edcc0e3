"""Updates that grow with a case's edits: moments of all tokens so far, and the regularised least-squares update.

Each answer token t has the input x_t of an edited matrix and the loss's gradient g_t by its output. Both are
standardised by moments that grow with every edit, the editor makes a wanted change v_t of the matrix's output of them,
and the update is the one that comes nearest to all of them and is small:

    Delta^T = (X^T X + ridge I)^-1 X^T V = X^T (X X^T + ridge I)^-1 V        (rows x_t and v_t)

The second form is solved here: it has as many equations as there are tokens, and gives a delta of that rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pytest_editpitfalls.engine.chains.keeping import keepable
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.job_gradients import Loss, RowGradients, job_gradients, job_rows
from pytest_editpitfalls.engine.overlay import LowRankDelta, not_finite
from pytest_editpitfalls.engine.settings import ProgressCallback
from pytest_editpitfalls.engine.token_gradients import Matrix

EPS = float(torch.finfo(torch.float32).eps)
"""Added to standard deviations, as in the release, which computes in float32."""


@keepable
@dataclass(frozen=True)
class TokenMoments:
    """Mean and spread of [x; g] over all tokens so far; float64.

    ``squares`` grows by n times the *unbiased* variance of n new tokens, as in UltraEdit's release (nets.py,
    RunningMeanStd), not by n - 1 times it. One token alone, of which that variance is not defined, adds nothing to it.

    Attributes:
        count: tokens.
        mean: (d_k + d_o,).
        squares: (d_k + d_o,) what the variance is count - 1 parts of.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def none(cls, width: int, device: torch.device) -> TokenMoments:
        """Before the first token."""
        zeros = torch.zeros(width, dtype=torch.float64, device=device)
        return cls(0, zeros, zeros)

    def with_tokens(self, tokens: Tensor) -> TokenMoments:
        """The moments with more tokens (n, d_k + d_o), which come together."""
        n = len(tokens)
        if n == 0:
            return self
        step, total = tokens.mean(dim=0) - self.mean, self.count + n
        squares = self.squares + step.square() * self.count * n / total
        if n > 1:
            squares = squares + n * tokens.var(dim=0)
        return TokenMoments(total, self.mean + step * n / total, squares)

    def standardised(self, tokens: Tensor) -> Tensor:
        """(n, d_k + d_o) tokens minus the mean, by the standard deviation."""
        std = (self.squares / (self.count - 1 + EPS)).sqrt()
        return (tokens - self.mean) / (std + EPS)


LOSSES: dict[Literal["sum", "mean"], Loss] = {"sum": "sum over tokens", "mean": "mean over tokens"}
"""How editors call the loss whose gradients they take."""

MomentsByShape = dict[str, TokenMoments]
"""Matrices of one shape share their moments."""


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens of one job at one matrix; float64.

    Attributes:
        x: (n, d_k) the matrix's inputs where a target token is predicted.
        g: (n, d_o) the loss's gradients by its outputs there.
    """

    x: Tensor
    g: Tensor

    @classmethod
    def joined(cls, parts: Sequence[AnswerTokens]) -> AnswerTokens:
        """The tokens of several jobs at one matrix."""
        return cls(torch.cat([each.x for each in parts]), torch.cat([each.g for each in parts]))

    def is_finite(self) -> bool:
        return bool(self.x.isfinite().all() and self.g.isfinite().all())

    @property
    def both(self) -> Tensor:
        """(n, d_k + d_o)"""
        return torch.cat([self.x, self.g], dim=1)


def shape_name(matrix: Matrix) -> str:
    """The key of `MomentsByShape`."""
    return f"{matrix.d_o}x{matrix.d_k}"


def answer_tokens(found: Sequence[RowGradients], jobs: int, matrices: int) -> list[list[AnswerTokens]]:
    """Of each job and matrix, request by request; a job without rows has no tokens."""
    parts: list[list[list[tuple[int, Tensor, Tensor]]]] = [[[] for _ in range(matrices)] for _ in range(jobs)]
    for group in found:
        for place, row in enumerate(group.rows):
            columns = group.batch.at_column[group.batch.at_row == place]
            for index, each in enumerate(group.gradients):
                parts[row.job][index].append((row.place, each.x[place, columns], each.d[place, columns]))
    return [[_joined(tokens) for tokens in job] for job in parts]


def _joined(tokens: list[tuple[int, Tensor, Tensor]]) -> AnswerTokens:
    ordered = sorted(tokens, key=lambda part: part[0])
    if not ordered:
        return AnswerTokens(torch.empty(0, 0), torch.empty(0, 0))
    return AnswerTokens(torch.cat([x for _, x, _ in ordered]).double(), torch.cat([g for _, _, g in ordered]).double())


def grown(moments: MomentsByShape | None, matrices: Sequence[Matrix], tokens: Sequence[AnswerTokens]) -> MomentsByShape:
    """The moments with a step's tokens, matrix by matrix."""
    result = dict(moments or {})
    for matrix, own in zip(matrices, tokens, strict=True):
        before = result.get(shape_name(matrix)) or TokenMoments.none(matrix.d_o + matrix.d_k, own.x.device)
        result[shape_name(matrix)] = before.with_tokens(own.both)
    return result


def tokens_of_jobs(
    resources: EditorResources,
    jobs: Sequence[EditJob],
    results: list[EditResult],
    matrices: Sequence[Matrix],
    loss: Literal["sum", "mean"],
    progress: ProgressCallback,
) -> list[list[AnswerTokens]]:
    """Of each job and matrix, each job at its own model.

    A job that has none, or whose tokens are not finite, gets its error in ``results``.

    Args:
        loss: over all target tokens of a job.
    """
    rows = job_rows(resources.host.encoder, jobs, results, LOSSES[loss])
    found = list(job_gradients(resources, jobs, rows, matrices, progress))
    tokens = answer_tokens(found, len(jobs), len(matrices))
    for index, (job, own) in enumerate(zip(jobs, tokens, strict=True)):
        if results[index].error is None and not all(each.is_finite() for each in own):
            error = f"edit {job.step}: inputs or gradients are not finite (NaN or infinity)"
            results[index] = EditResult(error=error)
    return tokens


def updated(
    job: EditJob,
    matrices: Sequence[Matrix],
    tokens: Sequence[AnswerTokens],
    wanted: Sequence[Tensor],
    ridges: Sequence[float | Tensor],
    moments: MomentsByShape,
    dtype: torch.dtype,
) -> EditResult:
    """The job's model with the update of each matrix (`least_squares`) behind it; its state is ``moments``.

    Args:
        dtype: of the deltas.
    """
    deltas = []
    for matrix, own, change, ridge in zip(matrices, tokens, wanted, ridges, strict=True):
        u, v = least_squares(own.x, change, ridge)
        deltas.append(LowRankDelta(matrix.module, u.to(dtype).contiguous(), v.to(dtype).contiguous()))
    if (wrong := not_finite(tuple(deltas))) is not None:
        return EditResult(error=f"edit {job.step}: {wrong}")
    return EditResult((*job.model, *deltas), moments)


def least_squares(x: Tensor, wanted: Tensor, ridge: float | Tensor) -> tuple[Tensor, Tensor]:
    """U (d_o, n) and V (d_k, n) of the update U V^T that brings W x_t nearest to W x_t + v_t; U is NaN without one.

    Args:
        x: (n, d_k) inputs.
        wanted: (n, d_o) changes of the outputs.
        ridge: weight of the update's own norm; above 0.
    """
    identity = torch.eye(len(x), dtype=x.dtype, device=x.device)
    factor, info = torch.linalg.cholesky_ex(x @ x.T + ridge * identity)
    if int(info) != 0:
        factor = torch.full_like(factor, torch.nan)
    return torch.cholesky_solve(wanted, factor).T, x.T
