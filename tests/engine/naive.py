"""The same things done the plain way: whole rows, whole model, weights changed in place, one case at a time.

Written from the papers' formulas only; shares no code with the engine but the model and the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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


@contextmanager
def looking(module: nn.Module, at: int, add: Tensor | None = None) -> Iterator[dict[str, Tensor]]:
    """Input ("key") and output ("value") of ``module`` at one token of a single row; ``add`` is added to it there."""
    seen: dict[str, Tensor] = {}

    def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
        tensor = output[0] if isinstance(output, tuple) else output
        tokens = tensor.reshape(-1, tensor.shape[-1])
        # Cloned: Falcon adds its attention's output to this tensor in place.
        seen["key"] = args[0].reshape(-1, args[0].shape[-1])[at].detach().clone()
        seen["value"] = tokens[at].detach().clone()
        if add is None:
            return None
        mark = torch.zeros(len(tokens), 1, dtype=tokens.dtype)
        mark[at] = 1
        changed = (tokens + mark * add).reshape(tensor.shape)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    handle = module.register_forward_hook(hook)
    try:
        yield seen
    finally:
        handle.remove()


def seen_at_subject(model: Any, tokenizer: Any, module: nn.Module, text: str, subject: str) -> dict[str, Tensor]:
    """What a module gets ("key") and gives ("value") at the subject's last token of ``text``."""
    with torch.no_grad(), looking(module, subject_last(tokenizer, text, subject)) as seen:
        model(input_ids=torch.tensor([prompt_ids(tokenizer, text)]), use_cache=False)
    return seen


def target_vectors(
    model: Any,
    tokenizer: Any,
    modules: Sequence[nn.Module],
    request: Any,
    templates: Sequence[str],
    *,
    steps: int,
    lr: float,
    decay: float,
    clamp: float,
    kl_factor: float,
    nll_factor: float = 1.0,
    relaxed: bool = False,
    likeliest_steps: int = 0,
) -> tuple[list[Tensor], list[Tensor]]:
    """(v_0, learnt delta) of each of ``modules`` for one request, row by row and without any batching.

    ``relaxed``: once every target token is the likeliest, the log probability counts a tenth from the next step on,
    and the search is over where the KL term is at most 0.01 (PMET).

    ``likeliest_steps``: the search is over at that many steps in which every target token is the likeliest in the
    prefixed prompts (ENCORE).
    """
    question = request.prompt.replace("{}", request.subject, 1)
    texts = [template.replace("{}", question, 1) for template in templates]
    kl_text = f"{request.subject} is a"
    kl_at = subject_last(tokenizer, kl_text, request.subject)
    values = [seen_at_subject(model, tokenizer, each, question, request.subject)["value"] for each in modules]
    deltas = [torch.zeros_like(value, requires_grad=True) for value in values]

    def run(text: str, extra: list[int], at: int) -> Tensor:
        with ExitStack() as stack:
            for module, delta in zip(modules, deltas, strict=True):
                stack.enter_context(looking(module, at, delta))
            ids = torch.tensor([prompt_ids(tokenizer, text) + extra])
            return model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)  # type: ignore[no-any-return]

    with torch.no_grad():
        base = run(kl_text, [], kl_at)[kl_at]
    adam = torch.optim.Adam(deltas, lr=lr)
    weight = nll_factor
    seen = 0
    for step in range(steps):
        losses, likeliest, prefixed = [], True, True
        for text in texts:
            wanted = target_ids(tokenizer, text, request.target_new)
            log_p = run(text, wanted[:-1], subject_last(tokenizer, text, request.subject))
            start = len(prompt_ids(tokenizer, text)) - 1
            losses.append(-sum(log_p[start + i, token] for i, token in enumerate(wanted)) / len(wanted))
            right = log_p[start : start + len(wanted)].argmax(dim=1).tolist() == wanted
            likeliest &= right
            prefixed &= right or text == question
        now = run(kl_text, [], kl_at)[kl_at]
        kl = kl_factor * (now.exp() * (now - base)).sum()
        loss = weight * sum(losses) / len(losses) + kl
        for delta, value in zip(deltas, values, strict=True):
            loss = loss + decay * delta.norm() / value.norm() ** 2
        seen += prefixed
        if float(loss.detach()) < 0.05 or step == steps - 1 or 0 < likeliest_steps == seen:
            break
        if relaxed:
            weight = nll_factor * 0.1 if likeliest else nll_factor
            if likeliest and float(kl.detach()) <= 0.01:
                break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            for delta, value in zip(deltas, values, strict=True):
                limit = clamp * value.norm()
                if delta.norm() > limit:
                    delta *= limit / delta.norm()
    return values, [delta.detach() for delta in deltas]


def rome(
    model: Any,
    tokenizer: Any,
    module: nn.Module,
    request: Any,
    templates: Sequence[str],
    second_moment: Tensor,
    **objective: Any,
) -> tuple[Tensor, Tensor]:
    """(Delta of shape (d_o, d_k), learnt delta) of one request, row by row and without any batching."""
    _, (delta,) = target_vectors(model, tokenizer, [module], request, templates, **objective)
    question = request.prompt.replace("{}", request.subject, 1)
    keys = [
        seen_at_subject(model, tokenizer, module, template.replace("{}", question, 1), request.subject)["key"]
        for template in templates
    ]
    bare_key = keys[list(templates).index("{}")]
    u = torch.linalg.solve(second_moment, torch.stack(keys).mean(0))
    u = u / u.norm()
    return torch.outer(delta, u) / (u @ bare_key), delta
