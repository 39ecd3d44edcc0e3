"""The same things done the plain way: whole rows, whole model, weights changed in place, one case at a time.

Written from the field notes' formulas only; shares no code with the engine but the model and the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text)["input_ids"])


def target_ids(tokenizer: Any, prompt: str, target: str) -> list[int]:
    """Tokens of the joined text that come after the prompt's."""
    joined = prompt_ids(tokenizer, f"{prompt} {target}")
    alone = prompt_ids(tokenizer, prompt)
    assert joined[: len(alone)] == alone
    return joined[len(alone) :]


def mean_log_prob(model: Any, tokenizer: Any, prompt: str, target: str) -> float:
    wanted = target_ids(tokenizer, prompt, target)
    ids = torch.tensor([prompt_ids(tokenizer, prompt) + wanted])
    with torch.no_grad():
        log_probs = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    start = ids.shape[1] - len(wanted)
    return sum(float(log_probs[start - 1 + i, token]) for i, token in enumerate(wanted)) / len(wanted)


def subject_last(tokenizer: Any, text: str, subject: str) -> int:
    end = text.rindex(subject) + len(subject)
    offsets = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    return max(i for i, (a, b) in enumerate(offsets) if a < end and b > end - len(subject) and b > a)


@contextmanager
def in_place(model: Any, updates: Sequence[tuple[str, Tensor]], transposed: bool) -> Iterator[None]:
    """The model with (d_o, d_k) matrices added to the named modules' weights; put back bit for bit."""
    saved = {name: model.get_submodule(name).weight.detach().clone() for name, _ in updates}
    try:
        with torch.no_grad():
            for name, update in updates:
                model.get_submodule(name).weight += update.T if transposed else update
        yield
    finally:
        with torch.no_grad():
            for name, weight in saved.items():
                model.get_submodule(name).weight.copy_(weight)


def rome(
    model: Any,
    tokenizer: Any,
    module: nn.Module,
    request: Any,
    templates: Sequence[str],
    second_moment: Tensor,
    *,
    steps: int,
    lr: float,
    decay: float,
    clamp: float,
    kl_factor: float,
) -> tuple[Tensor, Tensor]:
    """(Delta of shape (d_o, d_k), learnt delta) of one request, row by row and without any batching."""
    question = request.prompt.replace("{}", request.subject, 1)
    texts = [template.replace("{}", question, 1) for template in templates]
    kl_text = f"{request.subject} is a"
    kl_at = subject_last(tokenizer, kl_text, request.subject)
    seen: dict[str, Tensor] = {}

    def run(text: str, extra: list[int], at: int, delta: Tensor | None) -> Tensor:
        def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            tokens = output.reshape(-1, output.shape[-1])
            # Cloned: Falcon adds its attention's output to this tensor in place.
            seen["key"] = args[0].reshape(-1, args[0].shape[-1])[at].detach().clone()
            seen["value"] = tokens[at].detach().clone()
            if delta is None:
                return None
            mark = torch.zeros(len(tokens), 1, dtype=tokens.dtype)
            mark[at] = 1
            return (tokens + mark * delta).reshape(output.shape)

        handle = module.register_forward_hook(hook)
        try:
            ids = torch.tensor([prompt_ids(tokenizer, text) + extra])
            return model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)  # type: ignore[no-any-return]
        finally:
            handle.remove()

    with torch.no_grad():
        base = run(kl_text, [], kl_at, None)[kl_at]
        keys = []
        for text in texts:
            run(text, [], subject_last(tokenizer, text, request.subject), None)
            keys.append(seen["key"])
            if text == question:
                bare_key, value = seen["key"], seen["value"]
    delta = torch.zeros_like(value, requires_grad=True)
    adam = torch.optim.Adam([delta], lr=lr)
    for step in range(steps):
        losses = []
        for text in texts:
            wanted = target_ids(tokenizer, text, request.target_new)
            log_p = run(text, wanted[:-1], subject_last(tokenizer, text, request.subject), delta)
            start = len(prompt_ids(tokenizer, text)) - 1
            losses.append(-sum(log_p[start + i, token] for i, token in enumerate(wanted)) / len(wanted))
        now = run(kl_text, [], kl_at, delta)[kl_at]
        loss = sum(losses) / len(losses)
        loss = loss + kl_factor * (now.exp() * (now - base)).sum()
        loss = loss + decay * delta.norm() / value.norm() ** 2
        if float(loss.detach()) < 0.05 or step == steps - 1:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            limit = clamp * value.norm()
            if delta.norm() > limit:
                delta *= limit / delta.norm()
    u = torch.linalg.solve(second_moment, torch.stack(keys).mean(0))
    u = u / u.norm()
    return torch.outer(delta.detach(), u) / (u @ bare_key), delta.detach()
