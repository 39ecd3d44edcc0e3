"""FT, FT-L and FT-M: Adam on one whole down-projection (Meng et al. 2022, arXiv 2202.05262).

    FT, FT-L    loss = -1/T sum_t log p(target_t | prompt)                 as in kmeng01/memit, baselines/ft
    FT-M        loss = -1/T sum_t log p(target_t | prompt, target_<t)      as in zjunlp/EasyEdit, objective target_new

FT and FT-L score *all* target tokens at the prompt's one last position, as released. FT-L (Zhu et al. 2020, arXiv
2012.00363) clamps every entry after each step to its value at the start of *this* edit, plus or minus
``norm_constraint``: edits in a row drift. The release picks parameters by name, so a bias of the down-projection
trains too. Adam is fresh for every edit. Requests of one step are trained together and their losses averaged.

Any family: the trained matrix lies before a norm after the MLP (Gemma 2, Gemma 3, post-norm OPT), which stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult, ShippedEditor
from pytest_editpitfalls.engine.fine_tuning.hyperparameters import FineTuningHyperparameters
from pytest_editpitfalls.engine.matrices import matrix_of
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import DenseDelta, EditedModel, Overlay
from pytest_editpitfalls.engine.settings import ProgressCallback, silent

from .training_loop import Batch, Schedule, train_jobs

STOP_BELOW = 1e-2
"""Loss under which nothing is stepped any more (kmeng01/memit, baselines/ft/ft_main.py)."""


class FineTuning(ShippedEditor[FineTuningHyperparameters]):
    """The batched editor of whole matrices: what FT, FT-L and FT-M are but for their name and hyper-parameters.

    Costs, while it trains, four times the matrix for each case (delta, gradient, Adam's two moments).
    """

    def weights(self) -> tuple[str, ...]:
        """The down-projections of its layers."""
        return tuple(map(self._host.down_projection_path, self._hp.layers))

    def edit(self, jobs: Sequence[EditJob], progress: ProgressCallback = silent) -> list[EditResult]:
        """Train each job's deltas under its own model; a job whose loss is not finite is an error of its own."""
        hp, host = self._hp, self._host
        return train_jobs(
            self._resources,
            jobs,
            hp.objective,
            Schedule(hp.num_steps, hp.lr, hp.weight_decay, STOP_BELOW),
            lambda good, _: _DenseDeltas(
                host, [job.model for job in good], hp.layers, hp.norm_constraint, hp.weight_decay
            ),
            lambda deltas, place, job: EditResult((*job.model, *deltas.trained(place))),
            progress,
        )

    def describe(self) -> dict[str, Any]:
        """Hyper-parameters and what is trained."""
        return super().describe() | {
            "modules": list(self.weights()),
            "stop_below": STOP_BELOW,
        }


class _DenseDeltas:
    """A delta (d_o, d_k) and one of the bias per job and layer: leaves of their own, so that one can stop alone."""

    def __init__(
        self,
        host: ModelAdapter,
        models: Sequence[EditedModel],
        layers: Sequence[int],
        norm_constraint: float | None,
        weight_decay: float,
    ) -> None:
        self._host, self._models = host, models
        self._limit, self._decay = norm_constraint, weight_decay
        self._layers = layers
        self._deltas = [[self._zero(layer) for layer in layers] for _ in models]
        self._overlay = Overlay(host, [(*model, *new) for model, new in zip(models, self._deltas, strict=True)])

    def parameters(self) -> list[Tensor]:
        return [leaf for job in range(len(self._deltas)) for leaf in self._leaves(job)]

    def lowest_layer(self) -> int:
        return self._overlay.lowest_layer(default=min(self._layers))

    def applied(self, batch: Batch) -> AbstractContextManager[object]:
        return self._overlay.rows(batch.job, batch.lengths)

    def before_step(self, stopped: set[int]) -> None:
        for job in range(len(self._deltas)):
            if job in stopped:
                for leaf in self._leaves(job):
                    leaf.grad = None  # Adam passes over it, momentum included
            elif self._decay:
                self._decay_start(job)

    @torch.no_grad()
    def after_step(self) -> None:
        if self._limit is not None:
            for leaf in self.parameters():
                leaf.clamp_(-self._limit, self._limit)

    def trained(self, job: int) -> tuple[DenseDelta, ...]:
        """The deltas of one job, no longer trainable."""
        return tuple(
            DenseDelta(delta.module, delta.weight.detach(), None if delta.bias is None else delta.bias.detach())
            for delta in self._deltas[job]
        )

    def _zero(self, layer: int) -> DenseDelta:
        host = self._host
        shape = host.matrix_shape(layer)
        weight = torch.zeros(shape, dtype=host.edit_dtype, device=host.device, requires_grad=True)
        bias = None
        if getattr(host.down_projection(layer), "bias", None) is not None:
            bias = torch.zeros(shape[0], dtype=host.edit_dtype, device=host.device, requires_grad=True)
        return DenseDelta(host.down_projection_path(layer), weight, bias)

    def _leaves(self, job: int) -> list[Tensor]:
        return [leaf for delta in self._deltas[job] for leaf in (delta.weight, delta.bias) if leaf is not None]

    @torch.no_grad()
    def _decay_start(self, job: int) -> None:
        """What decays is the whole matrix: Adam adds the delta's share to the gradient, this the rest."""
        for delta in self._deltas[job]:
            module: Any = self._host.module(delta.module)
            weight = self._host.here(matrix_of(module))
            before = [old for old in self._models[job] if isinstance(old, DenseDelta) and old.module == delta.module]
            _add(delta.weight, [weight, *(old.weight for old in before)], self._decay)
            if delta.bias is not None:
                _add(delta.bias, [self._host.here(module.bias), *(old.bias for old in before)], self._decay)


def _add(leaf: Tensor, parts: Sequence[Tensor | None], decay: float) -> None:
    if leaf.grad is not None:
        for part in parts:
            if part is not None:
                leaf.grad.add_(part, alpha=decay)
