"""Text that the model itself samples: context templates and the default second-moment corpus. Seeded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pytest_editpitfalls.errors import UsageError

from .model_adapter import ModelAdapter

END_OF_TEXT = "<|endoftext|>"
"""What ROME's released code lets GPT-2 and GPT-J start from (kmeng01/rome, rome_main.py, get_context_templates)."""

SEED_WORDS = ("The", "Therefore", "Because", "I", "You")
"""What MEMIT's texts start from (kmeng01/memit, memit_main.py, get_context_templates); for ROME's where a tokenizer has
no mark of a text's beginning or end."""


def starts(host: ModelAdapter) -> list[tuple[int, ...]]:
    """What sampled texts start from: the end-of-text mark as released, or else BOS, EOS or the seed words."""
    tokenizer = host.tokenizer
    if END_OF_TEXT in tokenizer.get_vocab():
        return [(int(tokenizer.convert_tokens_to_ids(END_OF_TEXT)),)]
    mark = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [(int(mark),)] if mark is not None else [host.encoder.prompt(word) for word in SEED_WORDS]


@torch.no_grad()
def sample(
    host: ModelAdapter,
    starts: list[tuple[int, ...]],
    length: int,
    *,
    seed: int,
    top_k: int | None,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> list[list[int]]:
    """Token ids sampled after each of ``starts``; every row ends up with ``length`` tokens, start included.

    Raises `UsageError` where the model's probabilities are not finite.

    Args:
        starts: token ids that each row begins with; all of the same length.
        length: tokens per row.
        seed: the global random state is put back afterwards.
        top_k: sample among the k likeliest tokens; None samples from the whole distribution.
        on_tokens: called after each step with the number of tokens of all rows together.
    """
    ids = torch.tensor(starts, device=host.device)
    forbidden = [i for i in set(host.tokenizer.all_special_ids) if i is not None]
    generator = torch.Generator(device=host.device).manual_seed(seed)
    cache = None
    step = ids
    with host.prepacked.everywhere():
        for _ in range(length - ids.shape[1]):
            mask = torch.ones_like(ids)
            positions = torch.arange(ids.shape[1] - step.shape[1], ids.shape[1], device=host.device).expand_as(step)
            output = host.model(
                input_ids=step, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            logits = output.logits[:, -1].float()
            logits[:, forbidden] = -torch.inf
            if top_k is not None:
                logits = logits.masked_fill(
                    logits < logits.topk(min(top_k, logits.shape[1])).values[:, -1:], -torch.inf
                )
            # By the inverse of the distribution function: torch.multinomial draws a number for every word there is.
            cumulated = logits.softmax(dim=1).cumsum(dim=1)
            # Checked here, where one number per row is enough: what is drawn from NaN would be the last word there is.
            if not bool(cumulated[:, -1].isfinite().all()):
                raise UsageError(
                    f"the model's probabilities in {host.dtype} are not finite (NaN or infinity)",
                    where="sampling text",
                    fix="use a wider dtype: --pitfalls-dtype=bfloat16 or float32",
                )
            drawn = torch.rand(len(ids), 1, generator=generator, device=host.device) * cumulated[:, -1:]
            step = torch.searchsorted(cumulated, drawn, right=True).clamp(max=cumulated.shape[1] - 1)
            ids = torch.cat([ids, step], dim=1)
            on_tokens(ids.numel())
    return [list(map(int, row)) for row in ids.tolist()]


def context_templates(
    host: ModelAdapter,
    length_params: Sequence[tuple[int, int]],
    *,
    seed: int,
    begin: Sequence[tuple[int, ...]] = (),
) -> list[str]:
    """The bare prompt ``{}`` and sampled texts, each followed by ". {}" (kmeng01/rome, rome/rome_main.py).

    Args:
        length_params: published as (tokens, number of texts); tokens include the start.
        seed: of the sampled texts.
        begin: token ids that texts begin with, in turn; ROME's `starts` by default.

    Texts are sampled with top-5 as released, and have their braces and line breaks taken out,
    because a template has exactly one ``{}``.
    """
    templates = ["{}"]
    begin = begin or starts(host)
    for group, (length, count) in enumerate(length_params):
        for place, start in enumerate(begin):
            rows = len(range(place, count, len(begin)))
            if rows == 0:
                continue
            wanted = max(length, len(start) + 1)
            drawn = sample(host, [start] * rows, wanted, seed=seed * 1_000_003 + group * 101 + place, top_k=5)
            for ids in drawn:
                text = " ".join(host.encoder.decode(ids).replace("{", " ").replace("}", " ").split())
                templates.append(f"{text}. {{}}")
    return templates


def sampled_documents(
    host: ModelAdapter,
    tokens: int,
    *,
    length: int,
    seed: int,
    rows: int = 96,
    on_tokens: Callable[[int], None] = lambda _: None,
) -> list[list[int]]:
    """At least ``tokens`` tokens of text sampled from the whole distribution, ``length`` tokens per document.

    Args:
        length: tokens per document, its start included.
        seed: of the draws.
        rows: documents that are drawn together. What is drawn depends on it.
        on_tokens: called from time to time with the number of tokens so far.
    """
    begin = starts(host)
    documents: list[list[int]] = []
    batch = 0
    while (before := len(documents) * length) < tokens:
        count = min(rows, -(-tokens // length) - len(documents))
        documents += sample(
            host,
            [begin[batch % len(begin)]] * count,
            length,
            seed=seed * 7919 + batch,
            top_k=None,
            on_tokens=lambda done, before=before: on_tokens(before + done),  # type: ignore[misc]
        )
        batch += 1
    return documents
