"""Floating-point operations of a piece of work, counted by torch's `FlopCounterMode`: exact and free of noise.

Two times the multiply-adds of every matrix product and attention. Added to torch's own list: attention on a CPU, and
the solves that belong to each edit. Left out on all sides: element-wise work, and what is done once a run whatever the
number of cases (the inverse or the Cholesky factor of a second moment).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def count(work: Callable[[], object]) -> int:
    """Run ``work`` and return its floating-point operations. Counting slows it down: do not time it."""
    with FlopCounterMode(display=False, custom_mapping=_ADDED) as counter:
        work()
    return int(counter.get_total_flops())


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Q K^T and its product with V; shapes (batch, heads, tokens, width of a head)."""
    batch, heads, tokens, width = query
    return 2 * batch * heads * tokens * key[2] * (width + value[3])


def _attention_backward(
    _gradient: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    """Five products: the scores once more, and the gradients of scores, V, Q and K."""
    return _attention(query, key, value) * 5 // 2


def _prepacked(x: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """x W^T through a rearranged copy of W."""
    return 2 * math.prod(out_shape) * x[-1]


def _solve(matrix: Sequence[int], right: Sequence[int], *_: Any, **__: Any) -> int:
    """LU and two triangular solves of an n x n system with m right sides."""
    n, m = matrix[-1], right[-1]
    return 2 * n**3 // 3 + 2 * n * n * m


def _factored_solve(right: Sequence[int], factor: Sequence[int], *_: Any, **__: Any) -> int:
    """Two triangular solves of an n x n factor with m right sides."""
    return 2 * factor[-1] ** 2 * right[-1]


_ADDED: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten._linalg_solve_ex: _solve,
    torch.ops.aten.cholesky_solve: _factored_solve,
}
if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # not without oneDNN
    _ADDED[torch.ops.mkldnn._linear_pointwise] = _prepacked
