"""Counted operations are those of the textbook."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmark_samples import open_tiny
from benchmarks import isolated, machine, operations
from benchmarks.reference.rows import padded
from torch import nn
from torch.nn import functional

from pytest_editpitfalls.engine.prepacked import Prepacked


def test_products_attention_and_solves_are_counted() -> None:
    a, b = torch.randn(3, 4), torch.randn(4, 5)
    assert operations.count(lambda: a @ b) == 2 * 3 * 4 * 5
    query, key = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 6, 8)
    assert operations.count(lambda: functional.scaled_dot_product_attention(query, key, key)) == 4 * 6 * 4 * 6 * 8
    matrix, right = torch.eye(6).double(), torch.randn(6, 2).double()
    assert operations.count(lambda: torch.linalg.solve(matrix, right)) == 2 * 6**3 // 3 + 2 * 36 * 2
    assert operations.count(lambda: torch.cholesky_solve(right, matrix)) == 2 * 36 * 2


def test_products_through_rearranged_matrices_are_counted() -> None:
    module = nn.Linear(5, 7).requires_grad_(False)
    copies = Prepacked()
    copies.pack([module], 10**9)
    x = torch.randn(3, 5, requires_grad=True)

    def work() -> None:
        with copies.of([module]):
            module(x).sum().backward()

    assert operations.count(work) == 2 * (2 * 3 * 5 * 7)  # there and back


def test_a_backward_pass_through_attention_is_counted() -> None:
    query = torch.randn(1, 2, 4, 8, requires_grad=True)
    key = torch.randn(1, 2, 4, 8)

    def work() -> None:
        functional.scaled_dot_product_attention(query, key, key).sum().backward()

    forward = 4 * 2 * 4 * 4 * 8
    # As math (two products forward, three backward) or fused (the scores are computed once more).
    assert forward * 2 <= operations.count(work) <= forward * 3.5


def test_a_pass_of_a_model_has_the_operations_of_its_matrices(tmp_path: Path) -> None:
    session = open_tiny(tmp_path, "gpt2", "float32")
    host = session.host
    rows = padded(host, [(1, 2, 3), (4, 5)])
    matrices = sum(
        weight.numel() for name, weight in session.model.named_parameters() if weight.ndim == 2 and "wpe" not in name
    )
    attention = 4 * host.n_layers * 2 * 4 * 3 * 3 * 8  # layers, rows, heads, tokens, tokens, width
    with torch.no_grad():
        counted = operations.count(lambda: session.model(**rows, use_cache=False))
    assert counted == 2 * 6 * matrices + attention


def test_a_way_is_counted_in_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the child process does, here in this one; the embedded model's place is taken by a tiny one."""
    session = open_tiny(tmp_path, "gpt2", "float32")
    monkeypatch.setattr("benchmarks.ways.open_session", lambda _model, _device: session)
    found = {way: isolated.count(isolated.Order(way, "rome", 1, 2, "tiny", "cpu")) for way in ("reference", "batch_1")}
    assert found["reference"].operations > found["batch_1"].operations > 1e6
    assert found["reference"].scoring is None
    assert 0.01 < found["batch_1"].scoring / found["batch_1"].operations < 0.9
    assert all(each.peak_mb >= each.loaded_mb * 0.9 > 50 for each in found.values())


def test_the_machine_says_what_it_is() -> None:
    found = machine.describe("cpu")
    assert found["cores"] >= 1
    assert found["memory_gb"] > 0
    assert found["threads"] == torch.get_num_threads()
    rates = machine.matrix_rates("cpu")
    assert rates["square_float32"] > 1
    assert rates["embedded_float32"] > 0.5
