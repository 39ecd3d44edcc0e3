"""Rows of unequal length, cut into batches of nearly equal length, longest first. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def buckets(lengths: Sequence[int], *, max_tokens: int, max_waste: float = 0.2, slack: int = 0) -> list[list[int]]:
    """Cut row indices into batches; every index appears exactly once.

    Longest rows come first, so that memory runs out early and not late. A batch is closed when its padded size would
    exceed ``max_tokens`` or when padding would make up too much of it; one row is always accepted.

    Args:
        lengths: tokens of each row.
        max_tokens: rows times longest row that one batch may have.
        max_waste: share of padding that one batch may have, 0 to 1.
        slack: tokens of padding that are always accepted: what another batch would cost.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batches: list[list[int]] = []
    longest = used = 0
    for index in order:
        length = lengths[index]
        if batches:
            padded = longest * (len(batches[-1]) + 1)
            if padded <= max_tokens and padded - used - length <= max(max_waste * padded, slack):
                batches[-1].append(index)
                used += length
                continue
        batches.append([index])
        longest, used = length, length
    return batches
