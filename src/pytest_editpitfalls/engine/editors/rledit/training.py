"""Training RLEdit's network over chains of edits (Li et al. 2025; zhrli324/RLEdit, editor/rledit.py).

Step t of a chain writes ``n_edits`` facts into W_{t-1}, which the steps before left, and is judged by

    L_t = sum_i time_decay^i (NLL_{t-i} + loc_coef KL_{t-i}) + reg_coef |Delta_t|^2        i < back_depth

NLL_s is of the rephrasings of step s's facts, KL_s from W_{t-1} to W_t on their other texts. The gradient of L_t
reaches the network through Delta_t alone. It is added to those of the chain's earlier steps, and the sum is scaled down
to ``max_grad_norm``; one step of Adam follows the whole chain, and the next one begins at the base model. Mean and
spread go on growing.

Where the release differs:

- The gradient of reg_coef |Delta_t|^2 does not reach its network: the update is a constant there.
- Its facts are taken four at a time with the mean over all their tokens. Every fact counts the same here, and a sum of
  facts is divided by four, so that the losses are as large.
- It takes the gradient of the KL terms when the weights are W_{t-1} again: what goes back through the matrices above is
  multiplied with these. Here it is the gradient at W_t.
- It validates nothing. Here a validation is one chain over facts of other subjects, all of which are asked at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from pytest_editpitfalls.engine.hypernetworks.examples import Example, Losses, LowerBlocks, losses_of
from pytest_editpitfalls.engine.hypernetworks.loop import TrainingRun
from pytest_editpitfalls.engine.hypernetworks.weights import NetworkKind, WeightsHeader
from pytest_editpitfalls.engine.job_gradients import row_gradients, rows_of
from pytest_editpitfalls.engine.lifelong_updates import (
    LOSSES,
    AnswerTokens,
    MomentsByShape,
    answer_tokens,
    grown,
    least_squares,
    shape_name,
)
from pytest_editpitfalls.engine.overlay import DenseDelta, Overlay
from pytest_editpitfalls.engine.token_gradients import Matrix, TargetBatch, named_matrices

from .hyperparameters import MOST_BLOCKS, RleditTraining
from .network import RleditNetwork

FACTS_OF_A_LOSS = 4
"""Facts whose loss the release takes the mean of (config/dataset, batch_size)."""


def loss_of(header: WeightsHeader) -> Literal["sum", "mean"]:
    """What the gradients are of that the network reads; raises KeyError where the header does not say."""
    return {"sum": "sum", "mean": "mean"}[header.options["loss"]]  # type: ignore[return-value]


def _make(matrices: Sequence[Matrix], header: WeightsHeader, dtype: torch.dtype) -> RleditNetwork:
    loss_of(header)
    n_blocks = int(header.options["n_blocks"])
    if not 1 <= n_blocks <= MOST_BLOCKS:
        raise ValueError(f"n_blocks is {n_blocks}")
    return RleditNetwork(matrices, header.rank, n_blocks, dtype=dtype)


RLEDIT = NetworkKind("rledit", "RLEdit", _make)

Weights = tuple[Tensor, ...]
"""How far each edited matrix (d_o, d_k) is from the base model's."""


class RleditTrainingRun(TrainingRun[RleditTraining, RleditNetwork]):
    """What the network learns from a chain of edits; see the module's docstring."""

    kind = RLEDIT
    options_class = RleditTraining

    @property
    def edits_per_step(self) -> int:
        return self._options.n_edits * self._options.num_seq

    @property
    def grad_clip(self) -> float:
        return self._options.max_grad_norm

    def matrices(self) -> tuple[Matrix, ...]:
        options = self._options
        return named_matrices(self._forward.host, options.layers, options.edit_modules, editor=self.kind.command)

    def make_network(self) -> RleditNetwork:
        options, dtype = self._options, self._forward.host.edit_dtype
        seed, lr = options.seed, options.lr
        return RleditNetwork(self._matrices, options.rank, options.n_blocks, lr=lr, seed=seed, dtype=dtype)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.network.parameters()), "lr": self._options.meta_lr}]

    def total(self, losses: Losses) -> Tensor:
        return losses.total(1.0, self._options.loc_coef)

    def learn(self, examples: Sequence[Example]) -> list[Losses]:
        weights, moments = self._unedited(), self.network.moments()
        written: list[Sequence[Example]] = []  # newest first
        done: list[Losses] = []
        for step in self._steps(examples):
            made = self._learnt([step, *written][: self._options.back_depth], weights, moments)
            if made is None:
                self.skipped += len(step)
                continue
            found, weights, moments = made
            written.insert(0, step)
            done += found
        self.network.keep(moments)  # once: what is interrupted within the chain has changed nothing
        return done

    def _learnt(
        self, steps: Sequence[Sequence[Example]], before: Weights, moments: MomentsByShape
    ) -> tuple[list[Losses], Weights, MomentsByShape] | None:
        """Add a step's gradient to the chain's; None, with nothing added, where something is not finite.

        Args:
            steps: the step's facts, then those of the steps before it that it is judged by, newest first.
            before: weights that the steps before left.
            moments: of the tokens up to there.

        Returns:
            Losses of the step's own facts; the weights and moments that it leaves.
        """
        options, parameters = self._options, list(self.network.parameters())
        tokens = self._tokens(steps[0], before)
        if not all(own.is_finite() for own in tokens):
            return None
        moments = grown(moments, self._matrices, tokens)
        factors = self._factors(self.network, tokens, moments)
        updates = [(u.detach() @ v.T).to(w.dtype) for (u, v), w in zip(factors, before, strict=True)]
        edited = tuple((w + update).requires_grad_() for w, update in zip(before, updates, strict=True))
        found: list[Losses] = []
        for back, earlier in enumerate(steps):
            share = options.time_decay**back / FACTS_OF_A_LOSS
            for losses in self._losses(earlier, edited, before):
                (share * self.total(losses).sum()).backward()
                if back == 0:
                    found.append(losses.detached())
        slopes = [
            each.grad + 2 * options.reg_coef * update  # type: ignore[operator]
            for each, update in zip(edited, updates, strict=True)
        ]
        if not all(bool(slope.isfinite().all()) for slope in slopes):
            return None
        gradients = torch.autograd.grad(
            [u for u, _ in factors],
            parameters,
            [slope.double() @ v for slope, (_, v) in zip(slopes, factors, strict=True)],
        )
        # The norm of finite gradients can overflow, too, and would scale the whole chain's down to 0.
        if not bool(torch.stack([each.norm() for each in gradients]).norm().isfinite()):
            return None
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip)
        return found, tuple(each.detach() for each in edited), moments

    def judge(self, network: RleditNetwork, examples: Sequence[Example]) -> list[Losses]:
        base = weights = self._unedited()
        moments = network.moments()
        for step in self._steps(examples):
            tokens = self._tokens(step, weights)
            if not all(own.is_finite() for own in tokens):
                return [Losses.infinite(len(examples))]
            moments = grown(moments, self._matrices, tokens)
            factors = self._factors(network, tokens, moments)
            weights = tuple(w + (u @ v.T).to(w.dtype) for (u, v), w in zip(factors, weights, strict=True))
        if not all(bool(each.isfinite().all()) for each in weights):
            return [Losses.infinite(len(examples))]
        return list(self._losses(examples, weights, base))

    @cached_property
    def _first(self) -> int:
        """The first edited block; what lies below cannot change."""
        return Overlay(self._forward.host, [self._changes(self._unedited())]).lowest_layer(0)

    @cached_property
    def _lower(self) -> LowerBlocks:
        return LowerBlocks(self._forward, self._first, max_tokens=self._max_tokens)

    def _unedited(self) -> Weights:
        host = self._forward.host
        return tuple(torch.zeros(m.shape, device=host.device, dtype=host.edit_dtype) for m in self._matrices)

    def _steps(self, examples: Sequence[Example]) -> Iterator[Sequence[Example]]:
        """The facts of each step of a chain."""
        for start in range(0, len(examples), self._options.n_edits):
            yield examples[start : start + self._options.n_edits]

    def _changes(self, weights: Weights) -> tuple[DenseDelta, ...]:
        return tuple(DenseDelta(matrix.module, each) for matrix, each in zip(self._matrices, weights, strict=True))

    def _tokens(self, step: Sequence[Example], weights: Weights) -> list[AnswerTokens]:
        """Inputs and gradients of a step's facts at the edited model."""
        rows = rows_of([example.edit for example in step], LOSSES[self._options.loss])
        found = row_gradients(
            self._forward,
            Overlay(self._forward.host, [self._changes(weights)]),
            rows,
            self._matrices,
            max_tokens=self._max_tokens,
            first=self._first,
            lower=self._lower.of,
        )
        return answer_tokens(list(found), 1, len(self._matrices))[0]

    def _factors(
        self, network: RleditNetwork, tokens: Sequence[AnswerTokens], moments: MomentsByShape
    ) -> list[tuple[Tensor, Tensor]]:
        """U (d_o, n) and V (d_k, n) of each matrix's update; float64."""
        factors = []
        for index, (matrix, own) in enumerate(zip(self._matrices, tokens, strict=True)):
            standardised = moments[shape_name(matrix)].standardised(own.both)
            factors.append(least_squares(own.x, network.wanted(index, own.x, standardised), network.ridge(index)))
        return factors

    def _losses(self, examples: Sequence[Example], edited: Weights, before: Weights) -> Iterator[Losses]:
        """Of a few examples at a time: NLL of rephrasings at ``edited``, KL from ``before`` to it on other texts."""
        host, forward = self._forward.host, self._forward
        both = Overlay(host, [self._changes(edited), self._changes(before)])
        for chosen in self._batches(examples):
            other = TargetBatch.of([example.locality for example in chosen], host.device)
            with torch.no_grad():
                base = other.predicting(self._answered(other, [each.locality.ids for each in chosen], both, 1))
            asked = [example.rephrase for example in chosen] + [example.locality for example in chosen]
            batch = TargetBatch.of(asked, host.device)
            out = self._answered(batch, [row.ids for row in asked], both, 0)
            yield losses_of(forward, batch, out, base)

    def _answered(self, batch: TargetBatch, rows: Sequence[tuple[int, ...]], overlay: Overlay, model: int) -> Tensor:
        """(rows, width, hidden size) output of the last block, of one of the overlay's models."""
        models = torch.full((len(rows),), model, device=self._forward.host.device)
        with overlay.rows(models, batch.real.sum(dim=1)):
            return self._forward.blocks(batch.rows, first=self._first, hidden=self._lower.of(rows))
