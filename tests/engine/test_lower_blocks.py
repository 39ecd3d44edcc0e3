"""The blocks that all edited models share: starts that texts have in common run once, with the same result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.engine.forward import Forward, KeptPrefix, Rows
from pytest_editpitfalls.engine.scoring.lower_blocks import STARTING_TOKENS, common_starts, lower_blocks
from tests.engine.conftest import tolerance

TEXTS = [
    (5, 9, 4, 11, 6, 3),
    (5, 9, 4, 11, 7),
    (5, 9, 4, 11, 6, 8, 10),
    (7, 3),
    (6, 6, 6, 4),
    (6, 6, 6, 5, 9),
    (5, 9, 12),
]


def test_hidden_states_keys_and_values_are_those_of_whole_texts(
    forward: Forward, monkeypatch: pytest.MonkeyPatch
) -> None:
    last, bound = forward.n_layers - 1, tolerance(forward)
    tokens: list[int] = []
    blocks = Forward.blocks

    def counting(self: Forward, rows: Rows, **kwargs: Any) -> torch.Tensor:
        tokens.append(int(rows.real.sum()))
        return blocks(self, rows, **kwargs)

    with torch.no_grad():
        kept = KeptPrefix.empty(forward.n_layers)
        expected = forward.blocks(Rows.pad(TEXTS, torch.device("cpu")), last=last, cache=kept)
        monkeypatch.setattr(Forward, "blocks", counting)
        got, cache = lower_blocks(forward, TEXTS, last)
    assert sum(tokens) == sum(map(len, TEXTS)) - 5 - 3  # starts of so many tokens ran once instead of twice
    lengths = torch.tensor([len(text) for text in TEXTS])
    real = torch.arange(got.shape[1]) < lengths[:, None]
    torch.testing.assert_close(got[real], expected[real], rtol=bound, atol=bound)
    for ours, theirs in zip(cache._kept()[:last], kept._kept()[:last], strict=True):
        assert ours is not None
        assert theirs is not None
        for mine, whole in zip(ours, theirs, strict=True):
            at = (slice(None), slice(None), slice(whole.shape[2]))
            torch.testing.assert_close(
                mine[at].transpose(1, 2)[real], whole.transpose(1, 2)[real], rtol=bound, atol=bound
            )


def test_texts_that_share_nothing_run_as_they_are(forward_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, passes = forward_of("llama"), []
    blocks = Forward.blocks
    monkeypatch.setattr(Forward, "blocks", lambda self, *a, **k: (passes.append(1), blocks(self, *a, **k))[1])
    with torch.no_grad():
        lower_blocks(forward, [(3, 4, 5, 6), (4, 4, 5, 6), (7,)], 2)
    assert len(passes) == 1


texts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple), min_size=1, max_size=9, unique=True)


@given(texts)
def test_a_start_is_shared_and_leaves_something(chosen: list[tuple[int, ...]]) -> None:
    starts = common_starts(chosen)
    for text, start in zip(chosen, starts, strict=True):
        assert text[: len(start)] == start
        assert len(start) < len(text)
        if start:
            assert len(start) >= STARTING_TOKENS
            assert starts.count(start) > 1
