"""Passes without padding: the same answers and gradients in every family, and nothing packed that somebody looks at."""

from __future__ import annotations

from contextlib import nullcontext
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pytest_editpitfalls.engine.block_probe import first_tensor
from pytest_editpitfalls.engine.forward import Forward, KeptPrefix, Rows
from pytest_editpitfalls.engine.packing import TokenPacking
from tests.engine.conftest import tolerance

LENGTHS = (7, 1, 4, 2)
KEPT = (3, 5, 0, 1)


@pytest.fixture
def forward(any_forward: Forward) -> Forward:
    return any_forward


def rows_of(lengths: tuple[int, ...] = LENGTHS, kept: tuple[int, ...] = ()) -> Rows:
    tokens = [[5 + 3 * row + column for column in range(length)] for row, length in enumerate(lengths)]
    if not kept:
        return Rows.pad(tokens, torch.device("cpu"))
    return Rows.behind(torch.tensor(kept), max(kept), tokens)


def unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenPacking, "of", lambda *_: nullcontext())


def width(forward: Forward) -> int:
    return int(forward.host.widths[0])


def matrix_path(forward: Forward, layer: int) -> str:
    """A matrix behind which no key or value of its block stands."""
    family = forward.host.family
    return f"{family.blocks}.{layer}.{family.down_projection or family.attention_output}"


def multiplications(forward: Forward, rows: Rows, **options: Any) -> int:
    """Operations of the pass's matrix products, attention left out."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward.blocks(rows, **options)
    counts = counter.get_flop_counts()["Global"]
    return sum(count for kernel, count in counts.items() if str(kernel) in {"aten.mm", "aten.addmm"})


def test_answers_and_gradients_are_those_of_padded_rows(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, first, bound = rows_of(kept=KEPT), forward.n_layers - 2, tolerance(forward)
    cache = KeptPrefix.empty(forward.n_layers)
    with torch.no_grad():
        prefixes = forward.blocks(rows_of((max(KEPT),) * len(KEPT)), last=first, cache=cache)
        forward.blocks(rows_of((max(KEPT),) * len(KEPT)), first=first, hidden=prefixes, cache=cache)
    kept = cache.grown(torch.tensor(KEPT), max(KEPT), first=first)
    start = torch.randn(*rows.ids.shape, width(forward), dtype=torch.float64)
    places = rows.tokens
    assert places is not None
    assert len(places) == sum(LENGTHS)
    for asked in (None, places[[2, 7, 9]]):
        found: list[tuple[Tensor, Tensor]] = []
        for packed in (True, False):
            with monkeypatch.context() as patch:
                if not packed:
                    unpacked(patch)
                hidden = start.clone().requires_grad_()
                out = forward.blocks(rows, first=first, hidden=hidden, cache=kept, asked=asked)
            read = out.flatten(0, 1)[places if asked is None else asked]
            read.sin().sum().backward()
            assert hidden.grad is not None
            found.append((read.detach(), hidden.grad))
        for got, expected in zip(*found, strict=True):
            torch.testing.assert_close(got, expected, rtol=bound, atol=bound)
        assert not bool(found[0][1][~rows.real].any())  # nothing of the padding matters


def test_operations_are_those_of_the_tokens_that_matter(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of()
    packed = multiplications(forward, rows)
    with monkeypatch.context() as patch:
        unpacked(patch)
        padded = multiplications(forward, rows)
    assert packed / padded == pytest.approx(
        sum(LENGTHS) / rows.ids.numel(), rel=0.03
    )  # OPT-350M projects around its blocks
    # The last of two blocks answers for one token; it still needs the keys and values of all.
    asked = multiplications(forward, rows, last=2, asked=torch.tensor([6]))
    assert multiplications(forward, rows, last=1) < asked < multiplications(forward, rows, last=2)


def test_rows_without_padding_are_left_alone(forward: Forward, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(nn.Module, "register_forward_pre_hook", lambda *_, **__: seen.append(1), raising=True)
    forward.blocks(rows_of((3, 3)))
    assert rows_of((3, 3)).tokens is None
    assert not seen


def test_what_somebody_looks_at_sees_all_rows_and_columns(forward: Forward) -> None:
    rows, host = rows_of(), forward.host
    seen: list[int] = []
    matrix = host.module(matrix_path(forward, 1))
    handle = matrix.register_forward_hook(lambda _m, args, _o: seen.append(args[0].shape[:-1].numel()))
    try:
        forward.blocks(rows)
    finally:
        handle.remove()
    assert seen == [rows.ids.numel()]


def test_whoever_looks_into_the_last_block_sees_every_token_that_matters(forward: Forward) -> None:
    """A route may be decided on a whole prompt there, although only its last token is asked for."""
    rows, last = rows_of(), forward.n_layers - 1
    places = rows.tokens
    for module in (forward.host.module(matrix_path(forward, last)), forward.host.blocks[last]):
        seen: list[Tensor] = []
        handle = module.register_forward_hook(
            lambda _m, _a, output, seen=seen: seen.append(first_tensor(output).flatten(0, -2))
        )
        try:
            with torch.no_grad():
                forward.blocks(rows)
                forward.blocks(rows, asked=torch.tensor([6]))
        finally:
            handle.remove()
        expected, got = (each[places] for each in seen)
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("how", ["forward", "module"])
def test_what_has_been_replaced_gets_all_rows_and_columns(forward: Forward, how: str) -> None:
    rows, host = rows_of(), forward.host
    seen: list[int] = []
    path = matrix_path(forward, 1)
    parent, name = host.module(path.rpartition(".")[0]), path.rpartition(".")[2]
    own: nn.Module = getattr(parent, name)

    class Mine(nn.Module):
        def forward(self, hidden: Tensor) -> Tensor:
            seen.append(hidden.shape[:-1].numel())
            return type(own).forward(own, hidden)  # type: ignore[no-any-return]

    mine = Mine()
    if how == "forward":
        vars(own)["forward"] = MethodType(lambda _, hidden: mine(hidden), own)
    else:
        setattr(parent, name, mine)
    try:
        forward.blocks(rows)
    finally:
        vars(own).pop("forward", None)
        setattr(parent, name, own)
    assert seen == [rows.ids.numel()]
    seen.clear()
    forward.blocks(rows)  # and packed again once all is as it was
    assert not seen


def test_no_hook_is_left_behind_by_a_pass_that_fails(forward: Forward) -> None:
    rows = rows_of()
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        forward.blocks(rows, first=1, hidden=torch.zeros(4, 7, 3, dtype=torch.float64))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in forward.host.model.modules())


class _Odd(nn.Module):
    """An MLP that is also told something else, and gives more than its output."""

    def forward(self, hidden: Tensor, residual: Tensor) -> tuple[Tensor, int]:
        return hidden + residual, 1


def test_a_module_that_is_not_called_with_hidden_states_alone_is_never_packed(
    monkeypatch: pytest.MonkeyPatch, forward_of: Any
) -> None:
    """An architecture that a third-party family describes: its MLP sees the residual stream, too."""
    forward: Forward = forward_of("llama")
    own = forward.host.blocks[1].mlp
    odd = _Odd()
    try:
        forward.host.blocks[1].mlp = odd
        packing = TokenPacking(forward.host)
        with packing.learning():
            odd(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4))
        with packing.of(range(1, 2), torch.tensor([0, 2]), None, 3):
            out, more = odd(torch.ones(1, 3, 4), torch.ones(1, 3, 4))
    finally:
        forward.host.blocks[1].mlp = own
    assert (out.shape, more, float(out.sum())) == ((1, 3, 4), 1, 24.0)
