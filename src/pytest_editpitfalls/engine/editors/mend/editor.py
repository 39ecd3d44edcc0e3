"""MEND: a trained network turns the gradient of an edit into an update (Mitchell et al. 2022, arXiv 2110.11309).

The loss is ``-mean_t log p(target_t)``, averaged over the requests of a step (Multi-Label Edit) and taken at the edited
model as it stands, so that edit 2 is computed under edit 1. Each matrix of the MLPs of the edited blocks gets
``alpha_m sum_t d~_t x~_t^T``: a delta of rank "tokens kept". See `token_gradients` for x and d, and `network`.

Norms after the MLP (Gemma 2, Gemma 3, post-norm OPT) need no care: the gradient goes through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine import models
from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult, ShippedEditor
from pytest_editpitfalls.engine.editors.mend.hyperparameters import MendHyperparameters
from pytest_editpitfalls.engine.job_gradients import RowGradients, job_gradients, job_rows
from pytest_editpitfalls.engine.models.file_state import file_sha256
from pytest_editpitfalls.engine.overlay import LowRankDelta, not_finite
from pytest_editpitfalls.engine.settings import ProgressCallback, silent
from pytest_editpitfalls.engine.token_gradients import edited_matrices
from pytest_editpitfalls.errors import UsageError

from .weights import load_weights


class Mend(ShippedEditor[MendHyperparameters]):
    """The batched editor. See the module's docstring for what it computes; the hyper-parameter ``weights`` is needed.

    Raises:
        UsageError: no trained network, a damaged one, or one for another model.
    """

    name = "mend"

    def __init__(self, hyperparameters: MendHyperparameters, resources: EditorResources) -> None:
        super().__init__(hyperparameters, resources)
        host, name = self._host, resources.settings.model
        if hyperparameters.weights is None:
            raise UsageError(
                "MEND needs a network that was trained for this model",
                where="mend.weights",
                fix=f"train one with 'editpitfalls train-mend --model {name} --data DATA --out PATH' (docs/mend.md), "
                "then --pitfalls-set mend.weights=PATH",
            )
        self._matrices = edited_matrices(host, hyperparameters.layers)
        self._network, self._header = load_weights(
            hyperparameters.weights,
            fingerprint=_fingerprint(resources),
            model=name,
            dtype=host.dtype,
            layers=hyperparameters.layers,
            matrices=self._matrices,
            network_dtype=host.edit_dtype,
            device=host.device,
        )
        self._digest = file_sha256(hyperparameters.weights, models.cache_directory())

    def weights(self) -> tuple[str, ...]:
        """The matrices that its network was trained for."""
        return tuple(matrix.module for matrix in self._matrices)

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

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters, and what the network says of its training."""
        header = asdict(self._header)
        header["matrices"] = [matrix.module for matrix in self._header.matrices]
        header["layers"] = list(self._header.layers)
        return super().describe() | {"network": {"sha256": self._digest, **header}}

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


def _fingerprint(resources: EditorResources) -> str:
    """Of the loaded model; remembered in the cache where it is known where the model came from."""
    host = resources.host
    try:
        source = models.resolve(resources.settings.model)
    except UsageError:  # a model object that was handed over, not loaded by name
        source = None
    return models.fingerprint(host.model, host.tokenizer, source)
