"""Factorisations of a second moment: kept beside it, held against it, and computed again where that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.corpora import MomentSource
from pytest_editpitfalls.engine.moments import SecondMoment, SecondMoments, second_moment, tensor_files
from pytest_editpitfalls.errors import UsageError
from tests.engine.conftest import make_forward
from tests.engine.damaged_files import blank_the_end, rewrite, truncate

SIZE = 24


class Computed:
    """Decompositions that were really computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cholesky = self.eigh = 0
        cholesky_ex, eigh = torch.linalg.cholesky_ex, torch.linalg.eigh

        def factorise(matrix: Tensor) -> Any:
            self.cholesky += 1
            return cholesky_ex(matrix)

        def decompose(matrix: Tensor) -> Any:
            self.eigh += 1
            return eigh(matrix)

        monkeypatch.setattr(torch.linalg, "cholesky_ex", factorise)
        monkeypatch.setattr(torch.linalg, "eigh", decompose)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    monkeypatch.setattr(second_moment, "FACTOR_FILE_SIZE", 2)
    return Computed(monkeypatch)


def moment(path: Path | None, *, seed: int = 0, ridge: float = 0.5) -> SecondMoment:
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(200, SIZE, generator=generator, dtype=torch.float64)
    keys = keys * torch.logspace(-2, 0, SIZE, dtype=torch.float64)
    record = {"module": "blocks.1.down", "source": {"kind": "text", "reference": "corpus.txt"}}
    return SecondMoment(keys.T @ keys / 200, 200, ridge, record, path)


KEYS = torch.arange(2.0 * SIZE, dtype=torch.float64).reshape(2, SIZE)


def test_the_factor_is_read_and_not_computed_again(tmp_path: Path, computed: Computed) -> None:
    path = tmp_path / "matrix.safetensors"
    expected = moment(None).solve(KEYS)
    first = moment(path).solve(KEYS)
    assert computed.cholesky == 2
    again = moment(path)
    assert torch.equal(again.solve(KEYS), first)
    again.solve(KEYS)
    assert computed.cholesky == 2
    assert torch.equal(first, expected)
    assert all(file.name.startswith("matrix-cholesky-") for file in tmp_path.iterdir())


def test_every_ridge_has_its_own_factor(tmp_path: Path, computed: Computed) -> None:
    path = tmp_path / "matrix.safetensors"
    for ridge in (0.5, 0.25, 0.5, 0.25):
        got = moment(path, ridge=ridge).solve(KEYS)
        inverse = torch.linalg.inv(moment(None).matrix + ridge * torch.eye(SIZE, dtype=torch.float64))
        torch.testing.assert_close(got, KEYS @ inverse)
    assert computed.cholesky == 2


def test_eigenvectors_serve_every_threshold(tmp_path: Path, computed: Computed) -> None:
    path = tmp_path / "matrix.safetensors"
    plain = moment(None)
    thresholds = [float(plain.matrix.trace()) / SIZE / 10**power for power in (1, 2)]
    expected = [plain.null_space(threshold).project(KEYS) for threshold in thresholds]
    assert not torch.equal(*expected)
    computed.eigh = 0
    for threshold, wanted in zip(thresholds, expected, strict=True):
        got = moment(path).null_space(threshold).project(KEYS)
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    assert computed.eigh == 1
    with pytest.raises(UsageError, match="no eigenvalue"):
        moment(path).null_space(1e-30)
    assert computed.eigh == 1


def of_no_matrix(path: Path) -> None:
    rewrite(path, lambda _tensors, facts: facts.clear())


def single_precision(path: Path) -> None:
    rewrite(path, lambda tensors, _facts: tensors.update({k: t.float() for k, t in tensors.items()}))


def too_small(path: Path) -> None:
    rewrite(path, lambda tensors, _facts: tensors.update({k: t[1:] for k, t in tensors.items()}))


@pytest.mark.parametrize("damage", [truncate, blank_the_end, of_no_matrix, single_precision, too_small])
def test_a_damaged_factor_is_computed_again(damage: Callable[[Path], None], tmp_path: Path, computed: Computed) -> None:
    path, threshold = tmp_path / "matrix.safetensors", float(moment(None).matrix.trace()) / SIZE / 10

    def answers() -> tuple[Tensor, Tensor]:
        each = moment(path)
        return each.solve(KEYS), each.null_space(threshold).project(KEYS)

    expected = answers()
    for file in tmp_path.iterdir():
        damage(file)
    assert all(torch.equal(*pair) for pair in zip(answers(), expected, strict=True))
    assert (computed.cholesky, computed.eigh) == (2, 2)
    answers()
    assert (computed.cholesky, computed.eigh) == (2, 2), "the files were not repaired"


def test_a_factor_of_another_matrix_is_not_taken(tmp_path: Path, computed: Computed) -> None:
    """A data set can have changed under its name: its matrix, computed anew, stands in the same file."""
    path = tmp_path / "matrix.safetensors"
    moment(path).solve(KEYS)
    assert torch.equal(moment(path, seed=1).solve(KEYS), moment(None, seed=1).solve(KEYS))


def test_a_singular_matrix_leaves_no_factor(tmp_path: Path, computed: Computed) -> None:
    singular = moment(tmp_path / "matrix.safetensors", ridge=0.0)
    singular.matrix[:, 0] = singular.matrix[0, :] = 0.0
    with pytest.raises(UsageError, match="singular"):
        singular.solve(KEYS)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_only_costs_time(tmp_path: Path, computed: Computed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_tensors: Any, path: str, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    path = tmp_path / "matrix.safetensors"
    assert torch.equal(moment(path).solve(KEYS), moment(None).solve(KEYS))
    assert list(tmp_path.iterdir()) == []


def test_small_matrices_are_factorised_and_not_kept(tmp_path: Path) -> None:
    moment(tmp_path / "matrix.safetensors").solve(KEYS)
    assert SIZE < second_moment.FACTOR_FILE_SIZE
    assert list(tmp_path.iterdir()) == []


def test_moments_of_a_model_keep_their_factors(tmp_path: Path, computed: Computed) -> None:
    forward, source = make_forward("gpt2"), MomentSource(tokens=2000)

    def solved() -> Tensor:
        ours = SecondMoments(forward, fingerprint="tiny", cache=tmp_path, max_tokens=600)
        return ours.get(source, [1])[1].solve(torch.ones(1, forward.host.matrix_shape(1)[1]))

    first = solved()
    assert torch.equal(solved(), first)
    assert computed.cholesky == 1
