"""The blocks below the lowest edited one: run once per text for all edited models, and once per start of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from pytest_editpitfalls.engine.forward import Forward, KeptPrefix, Rows, columns_from

from .questions import Tokens, in_common

STARTING_TOKENS = 3
"""Tokens that texts must have in common at their start before these are run only once for all of them."""


def lower_blocks(forward: Forward, texts: Sequence[Tokens], last: int) -> tuple[Tensor, KeptPrefix]:
    """The first ``last`` blocks of the base model for different texts.

    Returns:
        hidden: (texts, columns, hidden) after these blocks; what stands behind a text means nothing.
        cache: their keys and values; row and column are the text's and the token's.
    """
    device = forward.host.device
    starts = common_starts(texts)
    kept = torch.tensor([len(start) for start in starts], device=device)
    width = max(map(len, starts), default=0)
    cache = KeptPrefix.empty(forward.n_layers)
    if not width:
        return forward.blocks(Rows.pad(texts, device), last=last, cache=cache), cache
    place = {start: index for index, start in enumerate(dict.fromkeys(starts))}
    begun = forward.blocks(Rows.pad(list(place), device), last=last, cache=cache)
    row = torch.tensor([place[start] for start in starts], device=device)
    cache = cache.grown(kept, width, rows=row).growing(torch.arange(len(texts), device=device))
    rest = Rows.behind(kept, width, [text[len(start) :] for text, start in zip(texts, starts, strict=True)])
    hidden = forward.blocks(rest, last=last, cache=cache)
    # Starts stand on the right of their columns, where the rest goes on; the texts begin where they begin.
    columns = max(map(len, texts))
    started = columns_from(begun[row], kept - width, width, dim=1)
    whole = columns_from(torch.cat([started, hidden], dim=1), width - kept, columns, dim=1)
    return whole, cache.moved(width - kept, columns)


def common_starts(texts: Sequence[Tokens]) -> list[Tokens]:
    """For each text the start that is worth sharing with others and leaves a rest of the text; otherwise nothing."""
    order = sorted(range(len(texts)), key=lambda index: texts[index])
    starts: list[Tokens] = [()] * len(texts)
    for before, index, after in zip([None, *order], order, [*order[1:], None], strict=False):
        text = texts[index]
        near = [in_common(text, texts[other]) for other in (before, after) if other is not None]
        starts[index] = text[: min(max(near, default=0), len(text) - 1)]
    count = Counter(starts)
    return [start if len(start) >= STARTING_TOKENS and count[start] > 1 else () for start in starts]
