"""Training of WISE's side copies, one per case, many cases at once. `wise` has the loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.engine.settings import Progress, ProgressCallback
from pytest_editpitfalls.engine.upper_blocks import RowGroup, UpperBlocks, adding

from .hyperparameters import WiseHyperparameters
from .side_memory import Activation, activation_difference

WEIGHT_DECAY = 1e-5
STOP_LOSS, STOP_CHANGE = 0.02, 1e-4
"""Released constants (zjunlp/EasyEdit, easyeditor/models/wise)."""


class SideCopies:
    """The side copies of a batch of cases.

    Args:
        weight: (d_o, d_k) the base model's W.
        inside: rewrite prompts with their targets, groups in the order of their cases.
        outside: irrelevant prompts, one per request and in their order; likewise.
        request_of: the request of each row inside.
        start: each case's W' - W so far, or None.
        masks: each case's (d_o, d_k) mask of trained entries.
        case_of: each request's case.

    Attributes:
        weights: each case's W' - W, (d_o, d_k).
        least: each case's least activation difference of a request, averaged over its prompts, at the end.
    """

    def __init__(
        self,
        hyperparameters: WiseHyperparameters,
        weight: Tensor,
        activation: Activation,
        inside: UpperBlocks,
        outside: UpperBlocks,
        request_of: Sequence[int],
        start: Sequence[Tensor | None],
        masks: Sequence[Tensor],
        case_of: Sequence[int],
    ) -> None:
        self._hp, self._base, self._activation = hyperparameters, weight, activation
        self._inside, self._outside, self._masks = inside, outside, masks
        self._request_of = torch.tensor(request_of, device=weight.device)
        self._case_of = torch.tensor(case_of, device=weight.device)
        self._requests = torch.bincount(self._case_of, minlength=len(start))
        # Leaves of their own: the gradient of one tensor's slice would be as large as the whole tensor.
        self._deltas = [
            (torch.zeros_like(weight) if each is None else each.clone()).requires_grad_(True) for each in start
        ]
        self._least = torch.full((len(start),), torch.inf, device=weight.device, dtype=weight.dtype)

    @property
    def weights(self) -> list[Tensor]:
        return [delta.detach() for delta in self._deltas]

    @property
    def least(self) -> list[float]:
        return [float(value) for value in self._least]

    @torch.enable_grad()
    def train(self, progress: ProgressCallback) -> None:
        """Train every case until its own loss is small and at rest, ``n_iter`` steps at most."""
        count, device = len(self._deltas), self._base.device
        active = torch.ones(count, dtype=torch.bool, device=device)
        latest = torch.full((count,), torch.inf, device=device, dtype=self._base.dtype)
        before = torch.zeros_like(latest)
        for step in range(self._hp.n_iter):
            self._drop(active, ((latest - before).abs() <= STOP_CHANGE) & (latest <= STOP_LOSS))
            progress(Progress("edit", step + 1, self._hp.n_iter))
            if not bool(active.any()):
                return
            loss = self._routing_loss()
            loss.sum().backward()
            total = loss.detach()
            for group in self._inside.groups:
                part = self._inside.loss(group, [adding(self._update(group))], count)
                part.sum().backward()
                total = total + part.detach()
            self._step(active)
            before, latest = latest, total
        with torch.no_grad():
            self._routing_loss()  # reads the final activation differences

    def _drop(self, active: Tensor, stopped: Tensor) -> None:
        """Take what a stopping case has reached as its end; its rows are not looked at again."""
        if not bool((active & stopped).any()):
            return
        with torch.no_grad():
            self._routing_loss()  # reads the activation differences as they are now
        active &= ~stopped
        self._inside.drop_stopped(active)
        self._outside.drop_stopped(active)

    def _step(self, active: Tensor) -> None:
        """SGD with weight decay on W', masked gradient, then the clamp."""
        limit = self._hp.norm_constraint
        with torch.no_grad():
            for case in active.nonzero()[:, 0].tolist():
                delta, mask = self._deltas[case], self._masks[case]
                assert delta.grad is not None
                change = delta.grad.mul_(mask).add_(self._base + delta, alpha=WEIGHT_DECAY)
                delta.sub_(change, alpha=self._hp.edit_lr).clamp_(-limit, limit)
                delta.grad = None

    def _update(self, group: RowGroup) -> Tensor:
        """(r, s, d_o) what each row's side copy adds to the module's output."""
        cases, counts = torch.unique_consecutive(group.job, return_counts=True)
        parts = zip(cases.tolist(), group.captured[0].inputs.split(counts.tolist()), strict=True)
        return torch.cat([inputs @ self._deltas[case].T for case, inputs in parts])

    def _differences(self, upper: UpperBlocks) -> tuple[Tensor, Tensor]:
        """Activation difference (rows,) of every prompt, and the row's place (rows,) among all."""
        found = []
        for group in upper.groups:
            outputs = group.captured[0].outputs
            prompt = torch.arange(outputs.shape[1], device=outputs.device) <= group.last[:, None]
            changed = outputs + self._update(group)
            found.append(activation_difference(self._activation, outputs, changed, prompt))
        return torch.cat(found), torch.cat([group.index for group in upper.groups])

    def _routing_loss(self) -> Tensor:
        """(cases,) the three hinges, averaged over a case's requests; notes the differences inside."""
        a, b, g = self._hp.act_margin
        inside, rows = self._differences(self._inside)
        part = self._request_of[rows]
        outside, outside_part = self._differences(self._outside)
        requests = len(self._case_of)
        apart = inside.new_zeros(requests).index_copy(0, outside_part, outside)
        hinges = (
            (apart - a).clamp(min=0)
            + _mean_of_positive(b - inside, part, requests)
            + _mean_of_positive(apart[part] - inside + g, part, requests)
        )
        with torch.no_grad():
            self._note(inside, part)
        open_request = torch.zeros_like(hinges).index_fill(0, outside_part, 1.0)
        shares = open_request / self._requests[self._case_of]
        return inside.new_zeros(len(self._deltas)).index_add(0, self._case_of, hinges * shares)

    def _note(self, inside: Tensor, part: Tensor) -> None:
        """Each open case's least difference of a request, as it is now."""
        requests = len(self._case_of)
        rows = torch.bincount(part, minlength=requests)
        mean = inside.new_zeros(requests).index_add(0, part, inside) / rows.clamp(min=1)
        mean = mean.masked_fill(rows == 0, torch.inf)
        latest = torch.full_like(self._least, torch.inf).scatter_reduce(0, self._case_of, mean, "amin")
        still_open = torch.zeros_like(self._least, dtype=torch.bool)
        still_open[self._case_of[rows > 0]] = True
        self._least = torch.where(still_open, latest, self._least)


def _mean_of_positive(values: Tensor, part: Tensor, requests: int) -> Tensor:
    """(requests,) mean over a request's rows of what is above 0; 0 where nothing is."""
    positive = values > 0
    total = values.new_zeros(requests).index_add(0, part, values * positive)
    count = values.new_zeros(requests).index_add(0, part, positive.to(values.dtype))
    return total / count.clamp(min=1)
