"""Parts of a model joined again give what the whole model gives, in every family."""

from __future__ import annotations

import pytest
import torch

from pytest_editpitfalls.engine.forward import Forward, KeptPrefix, Rows
from tests.engine.conftest import tolerance

PROMPTS = [
    "The capital of France is Paris. The capital of Japan is",
    "The mother of the king",
    "Rome",
]


@pytest.fixture
def forward(any_forward: Forward) -> Forward:
    return any_forward


def rows_of(forward: Forward) -> tuple[Rows, list[tuple[int, ...]]]:
    ids = [forward.host.encoder.prompt(text) for text in PROMPTS]
    return Rows.pad(ids, torch.device("cpu")), ids


@torch.no_grad()
def whole(forward: Forward, ids: tuple[int, ...]) -> torch.Tensor:
    return forward.host.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]  # type: ignore[no-any-return]


@torch.no_grad()
def test_padded_rows_in_parts_equal_whole_rows_alone(forward: Forward) -> None:
    rows, ids = rows_of(forward)
    for cut in range(1, forward.n_layers):
        lower = forward.blocks(rows, last=cut)
        hidden = forward.blocks(rows, first=cut, hidden=lower)
        for index, each in enumerate(ids):
            logits = forward.head(hidden[index, : len(each)])
            torch.testing.assert_close(logits, whole(forward, each), rtol=tolerance(forward), atol=tolerance(forward))


@torch.no_grad()
def test_a_kept_prefix_equals_running_it_again(forward: Forward) -> None:
    rows, ids = rows_of(forward)
    new = [forward.host.encoder.target(label) for label in ("Tokyo the king", "Spain", "a writer from")]
    cut = 2
    lower_cache, upper_cache = KeptPrefix.empty(forward.n_layers), KeptPrefix.empty(forward.n_layers)
    lower = forward.blocks(rows, last=cut, cache=lower_cache)
    forward.blocks(rows, first=cut, hidden=lower, cache=upper_cache)
    lengths, width = torch.tensor([len(each) for each in ids]), rows.ids.shape[1]
    more = Rows.behind(lengths, width, new)
    for _ in range(2):  # the kept prefix does not grow, so a second time gives the same
        hidden = forward.blocks(more, last=cut, cache=lower_cache.grown(lengths, width))
        hidden = forward.blocks(more, first=cut, hidden=hidden, cache=upper_cache.grown(lengths, width))
        for index, (prompt, target) in enumerate(zip(ids, new, strict=True)):
            logits = forward.head(hidden[index, : len(target)])
            torch.testing.assert_close(
                logits,
                whole(forward, prompt + target)[len(prompt) :],
                rtol=tolerance(forward),
                atol=tolerance(forward),
            )


@torch.no_grad()
def test_the_block_list_is_whole_again_after_an_error(forward: Forward) -> None:
    rows, ids = rows_of(forward)
    before = list(forward.host.blocks)
    wrong = torch.zeros(1, 1, 3, dtype=torch.float64)
    try:
        forward.blocks(rows, first=1, hidden=wrong)
    except RuntimeError:
        pass
    else:
        raise AssertionError("hidden states of the wrong shape were accepted")
    assert list(forward.host.blocks) == before
    torch.testing.assert_close(whole(forward, ids[0]), whole(forward, ids[0]))


def test_the_head_of_nothing_is_nothing(forward: Forward) -> None:
    """Some models cannot reshape a batch of no rows."""
    hidden = torch.zeros(0, forward.host.widths[0], dtype=torch.float64)
    some = forward.head(torch.zeros(2, hidden.shape[1], dtype=torch.float64))
    none = forward.head(hidden)
    assert none.shape == (0, some.shape[1])
    assert none.dtype == some.dtype
    assert forward.log_probs(hidden, torch.zeros(0, dtype=torch.long)).shape == (0,)
