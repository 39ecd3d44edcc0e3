"""The target vector of the locate-then-edit family, learnt for many independent requests at once.

    L = mean over templates of -(1/T) sum_t log p(t_t) + kl KL(p_delta || p_0) + wd sum |delta| / |v_0|^2

with one delta in R^{d_o} for each site, from 0, by Adam, added at the subject's last token in every row; each is
projected to |delta| <= clamp |v_0| after each step, v_0 being its site's output on the bare prompt; stopped below a
total loss of 0.05; the last iteration never steps (kmeng01/rome rome/compute_v.py, kmeng01/memit
memit/compute_z.py). PMET has two sites and a rule of its own (`Relaxation`). ENCORE may stop earlier
(``likeliest_steps``).

Requests stay independent: each has its own deltas, clamps and stopping mask; batching changes rounding only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pytest_editpitfalls.engine.forward import HEAD_ROWS, Forward
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.stopping import Stopping
from pytest_editpitfalls.engine.upper_blocks import Captured, OutputChange, RowGroup, UpperBlocks

from .edit_rows import EditRow
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
    """Hyper-parameters of the optimisation, by their published names, and where it takes place.

    ``likeliest_steps``: a request stops in so many steps with every target token of its prefixed prompts the likeliest,
    which need not follow one another; the bare prompt counts where it is the only one. 0: it does not
    (scalable-model-editing/encore, encore/compute_z.py, which counts right tokens up to five, and so means this for
    targets of one token only).
    """

    layer: int
    v_num_grad_steps: int
    v_lr: float
    v_weight_decay: float
    clamp_norm_factor: float
    kl_factor: float
    sites: tuple[Site, ...] = (Site.MLP,)
    nll_loss_factor: float = 1.0
    relaxation: Relaxation | None = None
    likeliest_steps: int = 0
    stop_loss: float = STOP_LOSS


@dataclass(frozen=True)
class TargetVectors:
    """What was learnt for n requests.

    Attributes:
        delta: (n, sites, d_o) the learnt deltas, in the order of the objective's sites.
        value: (n, sites, d_o) v_0: each site's output at the subject's last token of the bare prompt.
        captured: of each site its inputs (rows, d_in) and outputs (rows, d_o) before the edit, at the subject's last
            token of every row that the search was given.
    """

    delta: Tensor
    value: Tensor
    captured: tuple[Captured, ...]

    def target(self, site: int = 0) -> Tensor:
        """(n, d_o) z = v_0 + delta of one site."""
        return self.value[:, site] + self.delta[:, site]


@dataclass
class _Losses:
    """Terms of n requests, each (n,): the total with its graph, the KL term, whether all targets are the likeliest:
    of all rows, and of those that count for ENCORE's rule."""

    total: Tensor
    kl: Tensor
    likeliest: Tensor
    prefixed_likeliest: Tensor


class TargetVectorSearch:
    """One optimisation over a batch of requests.

    Args:
        overlay: the edited models that the requests are written into.
        model_of: (n,) index of each request's edited model in ``overlay``.
        rows: all rows of all requests.
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
        self._forward, host, layer = forward, forward.host, objective.layer
        modules = [site.module(host, layer) for site in objective.sites]
        self._upper = UpperBlocks(
            forward, overlay, model_of, layer, modules, rows, max_tokens=max_tokens, first_only=True
        )
        d_o, _ = host.matrix_shape(layer)
        self._value = torch.zeros(len(model_of), len(modules), d_o, device=self._device, dtype=self._dtype)
        bare = torch.tensor([row.bare for row in rows], device=self._device)
        prefixed = {row.job for row in rows if row.target and not row.bare}
        self._counts = torch.tensor([not row.bare or row.job not in prefixed for row in rows], device=self._device)
        self._captured = tuple(
            Captured(each.inputs.new_empty(len(rows), each.inputs.shape[2]), each.outputs.new_empty(len(rows), d_o))
            for each in self._upper.groups[0].captured
        )
        for group in self._upper.groups:
            chosen = bare[group.index]
            for site, (captured, own) in enumerate(zip(self._captured, group.captured, strict=True)):
                captured.inputs[group.index], captured.outputs[group.index] = (
                    own.inputs[:, 0],
                    own.outputs[:, 0],
                )
                self._value[group.job[chosen], site] = own.outputs[chosen, 0]

    @torch.enable_grad()
    def run(self, on_step: Callable[[int], None] = lambda _: None) -> TargetVectors:
        """Learn all deltas; ``on_step`` is called with the number of the iteration that is over."""
        objective, rule = self._objective, self._objective.relaxation
        delta = torch.zeros_like(self._value, requires_grad=True)
        limit = objective.clamp_norm_factor * self._value.norm(dim=2, keepdim=True)
        decay = objective.v_weight_decay / self._value.norm(dim=2).square()
        adam = torch.optim.Adam([delta], lr=objective.v_lr)
        stopping = Stopping(len(delta), self._device)
        nll_factor = torch.full((len(delta),), objective.nll_loss_factor, device=self._device)
        nll_factor = nll_factor.to(self._dtype)
        steps_likeliest = torch.zeros(len(delta), device=self._device, dtype=torch.long)
        for step in range(objective.v_num_grad_steps - 1):  # as released, the last iteration never steps
            adam.zero_grad()
            penalty = (decay * delta.norm(dim=2)).sum(dim=1)
            penalty.sum().backward()
            loss = penalty.detach()
            kl, likeliest = torch.zeros_like(loss), torch.ones_like(stopping.going)
            prefixed_likeliest = torch.ones_like(stopping.going)
            for group in self._upper.groups:
                part = self._losses(group, delta, nll_factor)
                part.total.sum().backward()
                loss, kl = loss + part.total.detach(), kl + part.kl
                likeliest &= part.likeliest
                prefixed_likeliest &= part.prefixed_likeliest
            stopping.stop(~(loss >= objective.stop_loss))
            if rule is not None:
                stopping.stop(likeliest & (kl <= rule.kl_loss))
                nll_factor.fill_(objective.nll_loss_factor).masked_fill_(likeliest, rule.nll_factor)
            if objective.likeliest_steps:
                steps_likeliest += prefixed_likeliest
                stopping.stop(steps_likeliest >= objective.likeliest_steps)
            on_step(step)
            still_going = stopping.poll()
            if still_going is not None and not bool(still_going.any()):
                break
            frozen = delta.detach().clone()
            adam.step()
            with torch.no_grad():
                norm = delta.norm(dim=2, keepdim=True)
                delta *= torch.where(norm > limit, limit / norm, torch.ones_like(norm))
                delta.copy_(torch.where(stopping.going[:, None, None], delta, frozen))
            if still_going is not None:
                self._upper.drop_stopped(still_going.to(self._device))
        return TargetVectors(delta.detach(), self._value, self._captured)

    def _losses(self, group: RowGroup, delta: Tensor, nll_factor: Tensor) -> _Losses:
        """This group's share of each request's terms."""
        vectors, count = delta[group.job], len(group.token)
        changes = [_adding_to_first(vectors[:, site]) for site in range(delta.shape[1])]
        # The head is read only where a target token is predicted or a KL row ends.
        hidden = self._upper.last_hidden(group, changes).flatten(0, 1)[group.asked]
        if len(hidden) > HEAD_ROWS:
            logits = [self._forward.head(part) for part in hidden[:count].split(HEAD_ROWS)]
            kl_logits = self._forward.head(hidden[count:])
        else:
            both = self._forward.head(hidden)  # one pass over the head's matrix for both
            logits, kl_logits = list(both[:count].split(HEAD_ROWS)), both[count:]
        pairs = list(zip(logits, group.token.split(HEAD_ROWS), strict=True))
        log_p = torch.cat([-torch.nn.functional.cross_entropy(x, t, reduction="none") for x, t in pairs])
        total = group.nll(log_p, len(delta), nll_factor)
        likeliest = prefixed_likeliest = torch.ones(len(delta), device=self._device, dtype=torch.bool)
        if self._objective.relaxation is not None or self._objective.likeliest_steps:
            missed = torch.cat([x.argmax(dim=1) != t for x, t in pairs]).to(self._dtype)
            likeliest = total.new_zeros(len(delta)).index_add(0, group.job_of_token, missed) == 0
            missed = missed * self._counts[group.index[group.at_row]]
            prefixed_likeliest = total.new_zeros(len(delta)).index_add(0, group.job_of_token, missed) == 0
        zero = torch.zeros_like(total)
        if len(group.ends) == 0:
            return _Losses(total, zero, likeliest, prefixed_likeliest)
        kl_log_p = kl_logits.log_softmax(dim=1)
        if group.reference is None:
            # The first pass itself, as released: the term and its gradient are then exactly 0 at delta = 0, where
            # Adam's first step would blow any rounding up to its full length.
            group.reference = kl_log_p.detach()
        divergence = (kl_log_p.exp() * (kl_log_p - group.reference)).sum(dim=1).to(self._dtype)
        kl = zero.index_add(0, group.job[group.ends], self._objective.kl_factor * divergence)
        return _Losses(total + kl, kl.detach(), likeliest, prefixed_likeliest)


def _adding_to_first(vectors: Tensor) -> OutputChange:
    """Adds ``vectors`` (rows, d_o) to the first column, the subject's last token."""

    def add(output: Tensor) -> Tensor:
        added = output[:, :1] + vectors[:, None].to(output)
        return torch.cat([added, output[:, 1:]], dim=1)

    return add
