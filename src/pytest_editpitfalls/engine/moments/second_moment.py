"""The second moment of one layer, its factorisation and its null space."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.errors import UsageError

from .tensor_files import NORM_TOLERANCE, read_tensors, write_tensors

FACTOR_FILE_SIZE = 1024
"""d_k from which factorisations are kept in files. On one CPU thread a Cholesky factor takes 0.06 s at 1536 and 3 s
at 6400, eigenvectors 1.4 s and minutes; a file is mapped in 0.001 s and 0.02 s where the system still has its pages."""


@dataclass(frozen=True)
class NullSpace:
    """Directions of C with a small eigenvalue, as P = U0 U0^T.

    Attributes:
        basis: (d_k, m) float64, orthonormal: of the space itself or, where that is larger, of its complement.
        complement: which of the two.
    """

    basis: Tensor
    complement: bool

    def project(self, keys: Tensor) -> Tensor:
        """P applied to keys (n, d_k), in float64."""
        keys = keys.double()
        inside = keys @ self.basis @ self.basis.T
        return keys - inside if self.complement else inside


@dataclass
class SecondMoment:
    """C of one layer.

    Attributes:
        matrix: (d_k, d_k) float64, without the ridge.
        tokens: tokens that it was estimated from.
        ridge: what is added to the diagonal, absolute.
        record: how it came about, as plain JSON types.
        file: the matrix's own file; its factorisations are kept beside it. None keeps them in memory only.
    """

    matrix: Tensor
    tokens: int
    ridge: float
    record: dict[str, Any]
    file: Path | None = None
    _factor: Tensor | None = field(default=None, repr=False)
    _null_spaces: dict[float, NullSpace] = field(default_factory=dict, repr=False)

    def null_space(self, threshold: float) -> NullSpace:
        """Eigenvectors of C (without the ridge) with an eigenvalue under ``threshold``; decomposed once.

        Raises `UsageError` where no eigenvalue or every one is under it: nothing or everything could be changed.
        """
        if threshold not in self._null_spaces:
            values, vectors = self._eigen()
            size, small = len(values), int((values < threshold).sum())
            if small in (0, size):
                raise UsageError(
                    f"{'every' if small else 'no'} eigenvalue of the second moment of {self.record['module']} is "
                    f"under nullspace_threshold = {threshold:g}: they lie between {float(values[0]):.3g} and "
                    f"{float(values[-1]):.3g}",
                    where=f"mom2 source {self.record['source']['kind']} {self.record['source']['reference']}".rstrip(),
                    fix="set a threshold between the two: --pitfalls-set EDITOR.nullspace_threshold=VALUE",
                )
            complement = small > size / 2  # eigenvalues ascend
            basis = vectors[:, small:] if complement else vectors[:, :small]
            self._null_spaces[threshold] = NullSpace(basis.clone(), complement)
        return self._null_spaces[threshold]

    def solve(self, keys: Tensor) -> Tensor:
        """C^-1 applied to keys (n, d_k), in float64; raises `UsageError` where C has no inverse."""
        return torch.cholesky_solve(keys.double().T, self.factor).T

    @property
    def factor(self) -> Tensor:
        """F (d_k, d_k), lower, with F F^T = C; raises `UsageError` where C has no inverse."""
        if self._factor is None:
            self._factor = self._cholesky()
        return self._factor

    @property
    def regular(self) -> Tensor:
        """(d_k, d_k) C with its ridge; a new matrix each time."""
        regular = self.matrix.clone()
        regular.diagonal().add_(self.ridge)
        return regular

    def with_ridge(self, more: float) -> SecondMoment:
        """The same with ``more`` added to the diagonal besides; the factorisation is another one."""
        return replace(self, ridge=self.ridge + more, _factor=None) if more else self

    def _cholesky(self) -> Tensor:
        """Lower factor (d_k, d_k) of C with its ridge."""
        size = self.matrix.shape[0]
        path = self._beside("cholesky", self.ridge)
        if found := self._read(path, {"factor": (size, size)}):
            return found["factor"]
        regular = self.regular
        factor: Tensor
        factor, info = torch.linalg.cholesky_ex(regular)
        # Rounding can leave tiny positive pivots in a singular matrix: each is held against its own diagonal. Those of
        # matrices of rank size - 1 were up to 200 size eps, depending on the library; real ones are over 0.01.
        pivots = factor.diagonal().square()
        regular_pivots = pivots > size**2 * torch.finfo(torch.float64).eps * regular.diagonal()
        if int(info) != 0 or not bool(regular_pivots.all()):
            raise UsageError(
                f"the second moment of {self.record['module']} is singular: {self.tokens} tokens for {size} dimensions",
                where=f"mom2 source {self.record['source']['kind']} {self.record['source']['reference']}".rstrip(),
                fix="use more text, or add a ridge: --pitfalls-set EDITOR.mom2_ridge=0.01",
            )
        self._write(path, {"factor": factor})
        return factor

    def _eigen(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (d_k,), ascending, and eigenvectors (d_k, d_k) in columns, of C without its ridge."""
        size = self.matrix.shape[0]
        path = self._beside("eigen", 0.0)
        if found := self._read(path, {"values": (size,), "vectors": (size, size)}):
            return found["values"], found["vectors"]
        values, vectors = torch.linalg.eigh(self.matrix)
        self._write(path, {"values": values, "vectors": vectors})
        return values, vectors

    def _beside(self, kind: str, ridge: float) -> Path | None:
        """The file of a factorisation: of this matrix, with this absolute ridge."""
        if self.file is None or self.matrix.shape[0] < FACTOR_FILE_SIZE:
            return None
        key = hashlib.sha256(json.dumps([kind, repr(ridge)]).encode()).hexdigest()[:12]
        return self.file.with_name(f"{self.file.stem}-{kind}-{key}{self.file.suffix}")

    def _read(self, path: Path | None, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor] | None:
        if path is None or (found := read_tensors(path, self.matrix.device)) is None:
            return None
        tensors, facts = found
        of, norm = facts.get("matrix_norm"), float(self.matrix.norm())
        # The matrix may have been computed again since, from another text under the name of a data set.
        if not isinstance(of, float) or not abs(of - norm) <= NORM_TOLERANCE * norm:
            return None
        if any(
            name not in tensors or tensors[name].shape != shape or tensors[name].dtype != torch.float64
            for name, shape in shapes.items()
        ):
            return None
        return tensors

    def _write(self, path: Path | None, tensors: dict[str, Tensor]) -> None:
        if path is not None:
            write_tensors(path, tensors, {"matrix_norm": float(self.matrix.norm())})
