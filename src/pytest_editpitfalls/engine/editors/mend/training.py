"""Training MEND's network: each edit is made alone on the base model, those of one step of Adam in one pass."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from pytest_editpitfalls.engine.hypernetworks.examples import Example, Losses
from pytest_editpitfalls.engine.hypernetworks.loop import TrainingRun
from pytest_editpitfalls.engine.hypernetworks.weights import NetworkKind
from pytest_editpitfalls.engine.token_gradients import Matrix, edited_matrices

from .hyperparameters import MendTraining
from .network import MendNetwork
from .objective import Objective

MEND = NetworkKind("mend", "MEND", lambda matrices, header, dtype: MendNetwork(matrices, header.rank, dtype=dtype))

WARM_UP = 50
"""Edits that give the running moments for validating the untrained network."""


class MendTrainingRun(TrainingRun[MendTraining, MendNetwork]):
    """What MEND's network learns from an edit: its loss, differentiated through the update (`objective`)."""

    kind = MEND
    options_class = MendTraining

    @property
    def edits_per_step(self) -> int:
        return self._options.accumulate_bs

    @property
    def grad_clip(self) -> float:
        return self._options.grad_clip

    @cached_property
    def objective(self) -> Objective:
        """Its losses."""
        return Objective(self._forward, self._matrices, min(self._options.layers), max_tokens=self._max_tokens)

    def matrices(self) -> tuple[Matrix, ...]:
        return edited_matrices(self._forward.host, self._options.layers)

    def make_network(self) -> MendNetwork:
        options, dtype = self._options, self._forward.host.edit_dtype
        return MendNetwork(self._matrices, options.rank, edit_lr=options.edit_lr, seed=options.seed, dtype=dtype)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [
            {"params": self.network.network_parameters(), "lr": self._options.lr},
            {"params": [self.network.alphas], "lr": self._options.lr_lr},
        ]

    def learn(self, examples: Sequence[Example]) -> list[Losses]:
        done: list[Losses] = []
        for chosen in self._batches(examples):
            gradients = self.objective.gradients(chosen)
            if not all(each.is_finite() for each in gradients):
                self.skipped += len(chosen)
                continue
            self.network.observe(gradients)
            losses = self.objective.losses(self.network, chosen, gradients)
            loss = self.total(losses).sum()
            if not bool(loss.isfinite()):
                self.skipped += len(chosen)
                continue
            loss.backward()
            done.append(losses.detached())
        return done

    def judge(self, network: MendNetwork, examples: Sequence[Example]) -> list[Losses]:
        found: list[Losses] = []
        size = self._options.val_batch_size
        for start in range(0, len(examples), size):
            for chosen in self._batches(examples[start : start + size]):
                gradients = self.objective.gradients(chosen)
                found.append(self.objective.losses(network, chosen, gradients))
        return found

    def total(self, losses: Losses) -> Tensor:
        return losses.total(self._options.cedit, self._options.cloc)

    def untrained(self) -> MendNetwork:
        """With moments of a few training edits."""
        network = copy.deepcopy(self.network)
        for chosen in self._batches([self._example(number) for number in range(WARM_UP)]):
            network.observe(self.objective.gradients(chosen))
        return network
