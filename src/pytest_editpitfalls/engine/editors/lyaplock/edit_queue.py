"""LyapLock's queue and what it weighs, at one layer of one case.

Written as E = W - W_0, what the edits have changed so far, the published step is a ridge regression of all edits:

    E' = [(R + E K) K^T + F_p K_p^T] A^-1,   A = q lambda C + K K^T + K_p K_p^T,   F_p = V_p - W_0 K_p

since V_0 K_0^T - W K_0 K_0^T = -E C and V_p - W K_p = F_p - E K_p. With G = [F_p, R + E K] and P = [K_p, K] that is

    E' = G (P^T C^-1 P + q lambda I)^-1 (C^-1 P)^T,   D = tr(E' C E'^T)

the family's closed form with gamma = q lambda: of low rank while there are few keys. Once they are half as many as
their dimensions, their products are kept instead, and A is factorised in each step, as the release does always.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pytest_editpitfalls.engine.chains.keeping import keepable
from pytest_editpitfalls.engine.locate_then_edit.layer_by_layer import closed_form
from pytest_editpitfalls.engine.moments import SecondMoment

FEW = 0.5
"""Keys are kept while they are at most this part of their dimensions."""


@keepable
@dataclass(frozen=True)
class EditQueue:
    """Everything in float64.

    Attributes:
        length: q.
        first: D_0; None before an edit has changed anything.
        keys: (m, d_k) K_p^T; none once there are products.
        values: (m, d_o) F_p^T.
        solved: (m, d_k) (C^-1 K_p)^T.
        left: (d_o, m) E = left solved.
        products: (d_k, d_k) K_p K_p^T of all earlier edits, once they are many.
        value_products: (d_o, d_k) F_p K_p^T.
        total: (d_o, d_k) E.
    """

    length: float
    first: float | None
    keys: Tensor
    values: Tensor
    solved: Tensor
    left: Tensor
    products: Tensor | None = None
    value_products: Tensor | None = None
    total: Tensor | None = None

    @classmethod
    def empty(cls, residuals: Tensor, keys: Tensor) -> EditQueue:
        """Before the first edit, whose residuals (n, d_o) and keys (n, d_k) these are."""
        no_keys, no_values = keys[:0].double(), residuals[:0].double()
        return cls(1.0, None, no_keys, no_values, no_keys, no_values.T)

    def after(self, residuals: Tensor, keys: Tensor, moment: SecondMoment, *, weight: float, alpha: float) -> EditQueue:
        """What is kept after one more edit.

        Args:
            residuals: (n, d_o) R^T, float64.
            keys: (n, d_k) K^T, float64.
            moment: C.
            weight: lambda.
        """
        if self.total is None and len(self.keys) + len(keys) > FEW * keys.shape[1]:
            return self._as_products().after(residuals, keys, moment, weight=weight, alpha=alpha)
        wanted = residuals + self._made_of(keys)
        if self.total is None:
            new = self._more_rows(wanted, keys, moment, self.length * weight)
            # C C^-1 P = P
            changed = float(((new.left.T @ new.left) * (new.solved @ new.keys.T)).sum())
        else:
            new = self._more_products(wanted, keys, moment, self.length * weight)
            assert new.total is not None
            changed = float(((new.total @ moment.regular) * new.total).sum())
        first = self.first or changed or None
        growth = 0.0 if first is None else changed / (alpha * first) - 1
        return replace(new, length=max(self.length + growth, 1.0), first=first)

    def matrix(self) -> Tensor:
        """(d_o, d_k) E."""
        return self.left @ self.solved if self.total is None else self.total

    def factors_beyond(self, before: EditQueue) -> tuple[Tensor, Tensor]:
        """U (d_o, r) and V (d_k, r) of what this one has written more than one before it, both of low rank."""
        # The keys of the one before are this one's first.
        left = self.left.clone()
        left[:, : before.left.shape[1]] -= before.left
        return left, self.solved.T

    def _made_of(self, keys: Tensor) -> Tensor:
        """(n, d_o) E K."""
        if self.total is None:
            return keys @ self.solved.T @ self.left.T
        return keys @ self.total.T

    def _more_rows(self, wanted: Tensor, keys: Tensor, moment: SecondMoment, gamma: float) -> EditQueue:
        every = torch.cat([self.keys, keys])
        solved = torch.cat([self.solved, moment.solve(keys)])
        left, _ = closed_form(torch.cat([self.values, wanted]), every, solved, gamma)
        made = keys @ solved.T @ left.T
        return replace(self, keys=every, values=torch.cat([self.values, made]), solved=solved, left=left)

    def _more_products(self, wanted: Tensor, keys: Tensor, moment: SecondMoment, gamma: float) -> EditQueue:
        assert self.products is not None
        assert self.value_products is not None
        products = self.products + keys.T @ keys
        goal = self.value_products + wanted.T @ keys
        factor, info = torch.linalg.cholesky_ex(gamma * moment.regular + products)
        total = torch.cholesky_solve(goal.T, factor).T
        if int(info) != 0:
            total = torch.full_like(total, torch.nan)
        values = self.value_products + (keys @ total.T).T @ keys
        return replace(self, products=products, value_products=values, total=total)

    def _as_products(self) -> EditQueue:
        return replace(
            self,
            keys=self.keys[:0],
            values=self.values[:0],
            solved=self.solved[:0],
            left=self.left[:, :0],
            products=self.keys.T @ self.keys,
            value_products=self.values.T @ self.keys,
            total=self.matrix(),
        )
