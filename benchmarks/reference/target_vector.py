"""The target vector of one request: the optimisation that ROME and MEMIT share, in full passes over one rectangle.

    L = mean over templates of -(1/T) sum_t log p(t_t) + kl KL(p_delta || p_0) + wd |delta| / |v_0|^2

by Adam, from delta = 0, which is added at the subject's last token of every row by a forward hook. Only delta has a
gradient, and the graph reaches down to the hook.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.program import EditRequest

from .rows import kl_row, padded, template_rows

STOP_LOSS = 0.05
_NO_TARGET = -100


@dataclass(frozen=True)
class TargetVector:
    """What was learnt for one request, both (d_o,): v_0 and delta."""

    value: Tensor
    delta: Tensor


@torch.enable_grad()
def learn(
    host: ModelAdapter,
    module: nn.Module,
    request: EditRequest,
    templates: Sequence[str],
    hyperparameters: Mapping[str, Any],
    *,
    head_twice: bool = False,
) -> TargetVector:
    """Optimise delta at the output of ``module``.

    Args:
        host: the model as it is edited so far.
        module: where delta is added: the down-projection (ROME) or the whole block (MEMIT).
        templates: context templates, the bare one first.
        hyperparameters: the editor's, by their published names.
        head_twice: the loss sends the last hidden states through the head once more, as MEMIT's does.
    """
    rows = template_rows(host, request, templates)
    target = host.encoder.target(request.target_new)
    last_row = kl_row(host, request)
    inputs = padded(host, [(*row.ids, *target[:-1]) for row in rows] + [last_row.ids])
    subject = [row.subject_last for row in (*rows, last_row)]
    wanted = torch.full((len(rows), inputs["input_ids"].shape[1]), _NO_TARGET, device=host.device)
    for index, row in enumerate(rows):
        start = len(row.ids) - 1
        wanted[index, start : start + len(target)] = torch.tensor(target, device=host.device)
    there = wanted != _NO_TARGET

    steps, limit = hyperparameters["v_num_grad_steps"], hyperparameters["clamp_norm_factor"]
    delta: Tensor | None = None
    adam: torch.optim.Optimizer | None = None
    values: list[Tensor] = []
    reference: Tensor | None = None

    def add(_module: nn.Module, _args: Any, output: Any) -> None:
        nonlocal delta
        states = output[0] if isinstance(output, tuple) else output
        if delta is None:
            values.append(states[0, subject[0]].detach().clone())
            delta = torch.zeros_like(values[0], dtype=host.edit_dtype, requires_grad=True)
        for index, at in enumerate(subject):
            states[index, at] += delta.to(states.dtype)

    for step in range(steps):
        handle = module.register_forward_hook(add)
        try:
            with _head_input(host) as seen:
                logits = host.model(**inputs, use_cache=False).logits
        finally:
            handle.remove()
        assert delta is not None
        value = values[0]
        kl_log_p = logits[-1, subject[-1]].log_softmax(dim=0)
        if reference is None:
            reference = kl_log_p.detach().clone()
            adam = torch.optim.Adam([delta], lr=hyperparameters["v_lr"])
        read = host.model.get_output_embeddings()(seen[0][: len(rows)]) if head_twice else logits
        log_p = read.log_softmax(dim=2).gather(2, wanted.clamp(min=0)[:, :, None]).squeeze(2)
        nll = -(log_p * there).sum(dim=1).div(len(target)).mean()
        kl = functional.kl_div(reference, kl_log_p, log_target=True, reduction="sum")
        decay = hyperparameters["v_weight_decay"] * delta.norm() / value.norm() ** 2
        loss = nll + hyperparameters["kl_factor"] * kl + decay
        if float(loss.detach()) < STOP_LOSS or step == steps - 1:
            break
        assert adam is not None
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            most = limit * value.norm()
            if delta.norm() > most:
                delta.mul_(most / delta.norm())
    assert delta is not None
    return TargetVector(values[0].to(delta.dtype), delta.detach())


@contextmanager
def _head_input(host: ModelAdapter) -> Iterator[list[Tensor]]:
    """What the head is given: the last block's output behind the final norm, (rows, tokens, hidden)."""
    seen: list[Tensor] = []
    handle = host.model.get_output_embeddings().register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    try:
        yield seen
    finally:
        handle.remove()
