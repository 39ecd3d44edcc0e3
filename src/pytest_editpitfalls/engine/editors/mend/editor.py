"""MEND: a trained network turns the gradient of an edit into an update (Mitchell et al. 2022, arXiv 2110.11309).

The loss is ``-mean_t log p(target_t)``, averaged over the requests of a step (Multi-Label Edit) and taken at the edited
model as it stands, so that edit 2 is computed under edit 1. Each matrix of the MLPs of the edited blocks gets
``alpha_m sum_t d~_t x~_t^T``: a delta of rank "tokens kept". See `token_gradients` for x and d, and `network`.

Norms after the MLP (Gemma 2, Gemma 3, post-norm OPT) need no care: the gradient goes through them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.editors.mend.hyperparameters import MendHyperparameters
from pytest_editpitfalls.engine.hypernetworks.trained_editor import TrainedEditor
from pytest_editpitfalls.engine.job_gradients import RowGradients, job_gradients, job_rows
from pytest_editpitfalls.engine.overlay import LowRankDelta, not_finite
from pytest_editpitfalls.engine.settings import ProgressCallback, silent
from pytest_editpitfalls.engine.token_gradients import Matrix, edited_matrices

from .network import MendNetwork
from .training import MEND


class Mend(TrainedEditor[MendHyperparameters, MendNetwork]):
    """The batched editor. See the module's docstring for what it computes; the hyper-parameter ``weights`` is needed.

    Raises:
        UsageError: no trained network, a damaged one, or one for another model.
    """

    name = "mend"
    kind = MEND

    def asked(self) -> tuple[Matrix, ...]:
        """All matrices of its blocks' MLPs."""
        return edited_matrices(self._host, self._hp.layers)

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Write each job's requests together: one gradient, of their mean loss."""
        results = [EditResult(job.model, job.state) for job in jobs]
        rows = job_rows(self._host.encoder, jobs, results)
        factors: list[list[list[tuple[Tensor, Tensor]]]] = [[[] for _ in self._matrices] for _ in jobs]
        for found in job_gradients(self._resources, jobs, rows, self._matrices, progress):
            for row, pairs in zip(found.rows, self._updates(found), strict=True):
                for matrix, pair in zip(factors[row.job], pairs, strict=True):
                    matrix.append(pair)
        for index, job in enumerate(jobs):
            if results[index].error is None:
                results[index] = self._result(job, factors[index])
        return results

    @torch.no_grad()
    def _updates(self, found: RowGradients) -> list[list[tuple[Tensor, Tensor]]]:
        """For each row, each matrix's factors (d_o, tokens) and (d_k, tokens)."""
        updates = self._network.updates(found.gradients)
        return [
            [
                (u[place][:, kept.kept[place]] * self._hp.lr_scale, v[place][:, kept.kept[place]])
                for (u, v), kept in zip(updates, found.gradients, strict=True)
            ]
            for place in range(len(found.rows))
        ]

    def _result(self, job: EditJob, factors: list[list[tuple[Tensor, Tensor]]]) -> EditResult:
        deltas = []
        for matrix, pairs in zip(self._matrices, factors, strict=True):
            u, v = (torch.cat(side, dim=1) for side in zip(*pairs, strict=True))
            if u.shape[1]:
                deltas.append(LowRankDelta(matrix.module, u, v))
        if (wrong := not_finite(tuple(deltas))) is not None:
            return EditResult(error=f"edit {job.step}: {wrong}")
        return EditResult((*job.model, *deltas), job.state)
