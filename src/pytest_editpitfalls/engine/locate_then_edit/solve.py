"""The closed form of the whole family, as a low-rank update (Gupta et al. 2024, arXiv 2403.14236).

    Delta = R (K^T A^-1 K + gamma I)^-1 K^T A^-1

with keys K (d_k x n), residuals R (d_o x n). gamma = 0 and n = 1: ROME. gamma = 1, A = lambda C: MEMIT, PMET.
gamma = emmet_lambda: EMMET. gamma = 1 and A^-1 = (P K_p K_p^T P + L2 I)^-1 P: AlphaEdit. A^-1 K comes from
one factorisation per layer and run; what is solved here is n x n.
"""

from __future__ import annotations

import torch
from torch import Tensor


def closed_form(residuals: Tensor, keys: Tensor, weighted: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """U (d_o, n) and V (d_k, n) of Delta = U V^T, float64; not finite where the n x n system is singular.

    Args:
        residuals: (n, d_o), R^T.
        keys: (n, d_k), K^T.
        weighted: (n, d_k), (A^-1 K)^T.
        gamma: added to the system's diagonal.
    """
    residuals, keys, weighted = residuals.double(), keys.double(), weighted.double()
    gram = keys @ weighted.T
    identity = torch.eye(len(keys), dtype=torch.float64, device=keys.device)
    # Symmetric but for rounding; U^T = (gram + gamma I)^-1 R^T.
    left, info = torch.linalg.solve_ex((gram + gram.T) / 2 + gamma * identity, residuals)
    if int(info) != 0:
        left = torch.full_like(residuals, torch.nan)
    return left.T, weighted.T


def weighted_with_cache(new: Tensor, cached: Tensor, weight: float) -> Tensor:
    """(n, d_k) rows of (P K_p K_p^T P + L2 I)^-1 P K, without any d_k x d_k matrix; float64.

        = (P K - P K_p (L2 I + (P K_p)^T P K_p)^-1 (P K_p)^T P K) / L2

    Args:
        new: (n, d_k), P applied to the new keys K.
        cached: (m, d_k), P applied to the keys K_p of earlier edits; m may be 0.
        weight: L2.
    """
    identity = torch.eye(len(cached), dtype=torch.float64, device=new.device)
    kept: Tensor = torch.linalg.solve(weight * identity + cached @ cached.T, cached @ new.T)
    result: Tensor = (new - kept.T @ cached) / weight
    return result
