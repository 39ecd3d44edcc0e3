"""The keys of a case's earlier edits, as the systems that hold them need them: (L2 I + K_p K_p^T)^-1 K.

The keys are mapped first, so that what the system has besides is a multiple of I: AlphaEdit's are projected (P K),
those of ENCORE's system whitened (F^-1 K, with F F^T = lambda C + lambda_n I and L2 = 1). They are kept while they are
fewer than their dimensions, and solved for by Woodbury's identity

    A^-1 k = A_0^-1 k - B^T (I + K_p B^T)^-1 K_p A_0^-1 k,    B = K_p A_0^-1 (rows),    A_0 = L2 I

whose inner system grows row by row with its Cholesky factor. Once they outnumber the dimensions, their products are
kept instead: A_0 is then L2 I + K K^T of all keys up to there, d_k x d_k, and only the keys since then are rows.
So an edit costs about the same after 10,000 edits as after d_k.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_editpitfalls.engine.chains.keeping import keepable

FEW = 32
"""So many keys are kept as they were read, and the system is set up anew each time: no bit of a short chain changes."""

SINCE = 8
"""Keys behind products are taken into them when they are this part of the dimensions."""


@keepable
@dataclass(frozen=True)
class KnownKeys:
    """Keys of earlier edits at one layer, all mapped; everything in float64.

    Attributes:
        weight: L2.
        rows: (m, d_k) those that are not in ``products``.
        solved: (m, d_k) the same by A_0^-1.
        factor: (m, m) lower Cholesky factor of I + rows solved^T.
        products: (d_k, d_k) L2 I + K K^T of older keys; None while there are few.
        products_factor: its lower Cholesky factor.
    """

    weight: float
    rows: Tensor
    solved: Tensor
    factor: Tensor
    products: Tensor | None = None
    products_factor: Tensor | None = None

    @classmethod
    def of(cls, keys: Tensor, weight: float) -> KnownKeys:
        """Keys (m, d_k), mapped, as a state that grows."""
        nothing = keys[:0]
        return cls(weight, nothing, nothing, keys.new_zeros(0, 0)).with_keys(keys)

    def weighted(self, new: Tensor) -> Tensor:
        """(n, d_k) rows of A^-1 K, for new mapped keys K (n, d_k); float64."""
        first = self._by_base(new)
        inner = torch.cholesky_solve(self.rows @ first.T, self.factor)
        result: Tensor = first - inner.T @ self.solved
        return result

    def with_keys(self, new: Tensor) -> KnownKeys:
        """The same with the keys (n, d_k), mapped, of one more edit."""
        rows, size = torch.cat([self.rows, new]), new.shape[1]
        most = size if self.products is None else size // SINCE
        if len(rows) > most:
            return self._as_products(rows)
        solved = self._by_base(new)
        # [L 0; X Y] [L 0; X Y]^T = I + rows solved^T
        below = torch.linalg.solve_triangular(self.factor, self.solved @ new.T, upper=False).T
        corner = torch.eye(len(new), dtype=new.dtype, device=new.device) + new @ solved.T - below @ below.T
        corner = torch.linalg.cholesky((corner + corner.T) / 2)
        above = below.new_zeros(len(self.factor), len(new))
        factor = torch.cat([torch.cat([self.factor, above], dim=1), torch.cat([below, corner], dim=1)])
        return replace(self, rows=rows, solved=torch.cat([self.solved, solved]), factor=factor)

    def _by_base(self, keys: Tensor) -> Tensor:
        """(n, d_k) rows of A_0^-1 K."""
        if self.products_factor is None:
            return keys / self.weight
        solved: Tensor = torch.cholesky_solve(keys.T, self.products_factor).T
        return solved

    def _as_products(self, rows: Tensor) -> KnownKeys:
        products = self.products
        if products is None:
            products = self.weight * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        products = products + rows.T @ rows
        factor = torch.linalg.cholesky(products)
        nothing = rows[:0]
        # An empty inner system: what follows grows it.
        return KnownKeys(self.weight, nothing, nothing, rows.new_zeros(0, 0), products, factor)


Known = Tensor | KnownKeys
"""The keys of earlier edits: as they were read while they are `FEW`, mapped once they are more."""

KeyMap = Callable[[Tensor], Tensor]
"""Keys (n, d_k) to mapped keys (n, d_k), float64."""


def weighted_with(known: Known | None, new: Tensor, mapping: KeyMap, weight: float) -> Tensor:
    """(n, d_k) rows of (L2 I + K_p K_p^T)^-1 K, for new keys as they were read; ``weight`` is L2."""
    if isinstance(known, KnownKeys):
        return known.weighted(mapping(new))
    earlier = new[:0] if known is None else known
    return weighted_with_cache(mapping(new), mapping(earlier), weight)


def with_new(known: Known | None, new: Tensor, mapping: KeyMap, weight: float) -> Known:
    """The keys of earlier edits and of this one."""
    if isinstance(known, KnownKeys):
        return known.with_keys(mapping(new))
    keys = new if known is None else torch.cat([known, new])
    return keys if len(keys) <= FEW else KnownKeys.of(mapping(keys), weight)


def weighted_with_cache(new: Tensor, cached: Tensor, weight: float) -> Tensor:
    """(n, d_k) rows of (K_p K_p^T + L2 I)^-1 K, without any d_k x d_k matrix; float64.

        = (K - K_p (L2 I + K_p^T K_p)^-1 K_p^T K) / L2

    Args:
        new: (n, d_k), the new keys K, mapped.
        cached: (m, d_k), the keys K_p of earlier edits, mapped; m may be 0.
        weight: L2.
    """
    identity = torch.eye(len(cached), dtype=torch.float64, device=new.device)
    kept: Tensor = torch.linalg.solve(weight * identity + cached @ cached.T, cached @ new.T)
    result: Tensor = (new - kept.T @ cached) / weight
    return result
