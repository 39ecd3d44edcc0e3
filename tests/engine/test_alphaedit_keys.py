"""AlphaEdit's system in the forms that it takes from few keys to many: all give what solving it plainly does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.chains.keeping import as_plain, from_plain
from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.locate_then_edit import known_keys
from pytest_editpitfalls.engine.locate_then_edit.known_keys import SINCE, KnownKeys
from pytest_editpitfalls.program import EditRequest
from tests.engine.conftest import make_forward
from tests.engine.test_locate_then_edit import make

L2 = 0.5
SIZE = 24


def keys(count: int, seed: int) -> Tensor:
    return torch.randn(count, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plainly(new: Tensor, known: Tensor) -> Tensor:
    """(K_p K_p^T + L2 I)^-1 K, d_k x d_k."""
    system = known.T @ known + L2 * torch.eye(SIZE, dtype=torch.float64)
    return torch.linalg.solve(system, new.T).T


@pytest.mark.parametrize("at_once", [1, 3, 11])
def test_every_form_solves_the_same_system(at_once: int) -> None:
    known, everything = KnownKeys.of(keys(2, 0), L2), keys(2, 0)
    seen = set()
    for step in range(1, 40):
        new = keys(at_once, step)
        expected = plainly(new, everything)
        assert torch.allclose(known.weighted(new), expected, rtol=1e-9, atol=1e-11), step
        known, everything = known.with_keys(new), torch.cat([everything, new])
        seen.add((known.products is None, len(known.rows) > 0))
    assert {form for form, _ in seen} == {True, False}  # both the keys and their products


def test_products_take_no_more_with_every_edit() -> None:
    known = KnownKeys.of(keys(SIZE, 0), L2)
    assert known.products is None  # as many keys as dimensions: still keys
    sizes = []
    for step in range(60):
        known = known.with_keys(keys(1, step + 1))
        assert known.products is not None
        assert known.products.shape == (SIZE, SIZE)
        sizes.append(len(known.rows))
    assert max(sizes) <= SIZE // SINCE


def test_a_file_holds_them() -> None:
    known = KnownKeys.of(keys(SIZE + 1, 0), L2).with_keys(keys(1, 1))
    tensors: dict[str, Tensor] = {}
    read = from_plain(as_plain({3: known}, tensors), tensors)
    assert torch.equal(read[3].weighted(keys(2, 5)), known.weighted(keys(2, 5)))


def chain(editor: Any, requests: Sequence[EditRequest]) -> list[EditResult]:
    results = [EditResult()]
    for step, request in enumerate(requests):
        before = results[-1]
        results += editor.edit([EditJob("a", step + 1, (request,), before.model, before.state)])
    return results[1:]


def test_a_chain_is_the_same_in_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = ("Rome", "Paris", "Tokyo", "Russian")
    requests = [EditRequest(f"The capital {n} of {{}} is", "France", labels[n % 4]) for n in range(6)]
    made = {}
    for few in (0, 3, 1000):
        monkeypatch.setattr(known_keys, "FEW", few)
        made[few] = chain(make("alphaedit", make_forward("llama"), tmp_path), requests)
    kinds = {few: type(results[-1].state[0]) for few, results in made.items()}
    assert kinds == {0: KnownKeys, 3: KnownKeys, 1000: Tensor}
    for few in (0, 3):
        for result, expected in zip(made[few], made[1000], strict=True):
            for got, wanted in zip(result.model, expected.model, strict=True):
                assert torch.allclose(got.u @ got.v.T, wanted.u @ wanted.v.T, rtol=1e-7, atol=1e-10)
