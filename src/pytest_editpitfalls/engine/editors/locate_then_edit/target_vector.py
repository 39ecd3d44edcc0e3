"""The target vector of the locate-then-edit family, learnt for many independent requests at once.

    L = mean over templates of -(1/T) sum_t log p(t_t) + kl KL(p_delta || p_0) + wd sum |delta| / |v_0|^2

with one delta in R^{d_o} for each site, from 0, by Adam, added at the subject's last token in every row; each is
projected to |delta| <= clamp |v_0| after each step, v_0 being what its site gives on the bare prompt; stopped below a
total loss of 0.05; the last iteration never steps (field notes 1; kmeng01/rome rome/compute_v.py, kmeng01/memit
memit/compute_z.py). PMET has two sites and a rule of its own (`Relaxation`).

Requests stay independent: each has its own deltas, clamps and stopping mask; batching changes rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.bucketing import buckets
from pytest_editpitfalls.engine.forward import LAUNCH_TOKENS, Forward
from pytest_editpitfalls.engine.overlay import Overlay

from .edit_rows import EditRow
from .replay import Group, Replay
from .sites import Site

STOP_LOSS = 0.05


@dataclass(frozen=True)
class Relaxation:
    """What happens once every target token of every row is the likeliest (xpq-tech/PMET, edit/pmet/compute_zs.py).

    Attributes:
        nll_factor: weight of the log probability from the next step on, until one is no longer the likeliest.
        kl_loss: the request stops there and then if its weighted KL term is at most this.
    """

    nll_factor: float
    kl_loss: float


@dataclass(frozen=True)
class VectorObjective:
    """Hyper-parameters of the optimisation, by their published names, and where it takes place."""

    layer: int
    v_num_grad_steps: int
    v_lr: float
    v_weight_decay: float
    clamp_norm_factor: float
    kl_factor: float
    sites: tuple[Site, ...] = (Site.MLP,)
    nll_loss_factor: float = 1.0
    relaxation: Relaxation | None = None


@dataclass(frozen=True)
class TargetVectors:
    """What was learnt for n requests.

    Attributes:
        delta: (n, sites, d_o) the learnt deltas, in the order of the objective's sites.
        value: (n, sites, d_o) v_0: what each site gives at the subject's last token of the bare prompt.
    """

    delta: Tensor
    value: Tensor

    def target(self, site: int = 0) -> Tensor:
        """(n, d_o) z = v_0 + delta of one site."""
        return self.value[:, site] + self.delta[:, site]


@dataclass
class _Losses:
    """Terms of n requests, each (n,): the total with its graph, the KL term, whether all targets are likeliest."""

    total: Tensor
    kl: Tensor
    likeliest: Tensor


class TargetVectorSearch:
    """One optimisation over a batch of requests.

    Args:
        forward: the base model.
        overlay: the edited models that the requests are written into.
        model_of: (n,) index of each request's edited model in ``overlay``.
        rows: all rows of all requests.
        objective: hyper-parameters.
        max_tokens: padded tokens per forward pass.
    """

    def __init__(
        self,
        forward: Forward,
        overlay: Overlay,
        model_of: Sequence[int],
        rows: Sequence[EditRow],
        objective: VectorObjective,
        *,
        max_tokens: int,
    ) -> None:
        self._objective = objective
        self._device, self._dtype = forward.host.device, forward.host.edit_dtype
        self._replay = Replay(forward, overlay, objective.layer, objective.sites)
        n = len(model_of)
        d_o, _ = forward.host.matrix_shape(objective.layer)
        self._value = torch.zeros(n, len(objective.sites), d_o, device=self._device, dtype=self._dtype)
        templates = [0] * n
        for row in rows:
            templates[row.job] += bool(row.target)
        self._groups: list[Group] = []
        for bucket in buckets(
            [len(row.suffix) for row in rows], max_tokens=max_tokens, max_waste=0.15, slack=LAUNCH_TOKENS
        ):
            chosen = [rows[index] for index in bucket]
            group, values = self._replay.prepare(chosen, model_of, templates)
            self._groups.append(group)
            for index, row in enumerate(chosen):
                if row.bare:
                    self._value[row.job] = values[index]

    @torch.enable_grad()
    def run(self, on_step: Callable[[int], None] = lambda _: None) -> TargetVectors:
        """Learn all deltas; ``on_step`` hears the number of the iteration that is over."""
        objective, rule = self._objective, self._objective.relaxation
        delta = torch.zeros_like(self._value, requires_grad=True)
        limit = objective.clamp_norm_factor * self._value.norm(dim=2, keepdim=True)
        decay = objective.v_weight_decay / self._value.norm(dim=2).square()
        adam = torch.optim.Adam([delta], lr=objective.v_lr)
        active = torch.ones(len(delta), dtype=torch.bool, device=self._device)
        nll_factor = torch.full((len(delta),), objective.nll_loss_factor, device=self._device)
        nll_factor = nll_factor.to(self._dtype)
        for step in range(objective.v_num_grad_steps - 1):  # as released, the last iteration never steps
            adam.zero_grad()
            penalty = (decay * delta.norm(dim=2)).sum(dim=1)
            penalty.sum().backward()
            loss = penalty.detach()
            kl, likeliest = torch.zeros_like(loss), torch.ones_like(active)
            for group in self._groups:
                part = self._losses(group, delta, nll_factor)
                part.total.sum().backward()
                loss, kl = loss + part.total.detach(), kl + part.kl
                likeliest &= part.likeliest
            active &= loss >= STOP_LOSS
            if rule is not None:
                active &= ~(likeliest & (kl <= rule.kl_loss))
                nll_factor.fill_(objective.nll_loss_factor)[likeliest] = rule.nll_factor
            on_step(step)
            if not bool(active.any()):
                break
            frozen = delta.detach().clone()
            adam.step()
            with torch.no_grad():
                norm = delta.norm(dim=2, keepdim=True)
                delta *= torch.where(norm > limit, limit / norm, torch.ones_like(norm))
                delta.copy_(torch.where(active[:, None, None], delta, frozen))
            if not bool(active.all()):
                self._groups = [
                    kept for group in self._groups if (kept := group.without_stopped(active)) is not None
                ]
        return TargetVectors(delta.detach(), self._value)

    def _losses(self, group: Group, delta: Tensor, nll_factor: Tensor) -> _Losses:
        """This group's share of each request's terms."""
        read = self._replay.read(group, delta[group.job], argmax=self._objective.relaxation is not None)
        zero = torch.zeros(len(delta), device=self._device, dtype=self._dtype)
        likeliest = torch.ones(len(delta), device=self._device, dtype=torch.bool)
        count = len(group.token)
        job = group.job[group.at_row[:count]]
        weight = group.weight * nll_factor[job]
        total = zero.index_add(0, job, -read.log_p.to(self._dtype) * weight)
        if read.hit is not None:
            likeliest[job[~read.hit]] = False
        if len(read.kl_log_p) == 0:
            return _Losses(total, zero, likeliest)
        if group.kl_base is None:
            # The first replay itself, as released: the term and its gradient are then exactly 0 at delta = 0, where
            # Adam's first step would blow any rounding up to its full length.
            group.kl_base = read.kl_log_p.detach()
        divergence = (read.kl_log_p.exp() * (read.kl_log_p - group.kl_base)).sum(dim=1).to(self._dtype)
        kl = zero.index_add(0, group.job[group.at_row[count:]], self._objective.kl_factor * divergence)
        return _Losses(total + kl, kl.detach(), likeliest)
