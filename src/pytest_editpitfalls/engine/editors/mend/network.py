"""MEND's network: turns the gradient of an edit into an update (Mitchell et al. 2022, equations 3 and 4).

    h = [(x - mean_x) / (std_x + 1e-7) ; (d - mean_d) / (std_d + 1e-7)]
    f(h) = h + relu(s_m * (U V h + b) + o_m)            twice, rank(U V) = rank
    W_m  <- W_m + alpha_m sum_t d~_t x~_t^T             (x~ ; d~) = f(f(h))

Matrices of equal shape share a network and the running moments; scale s_m, shift o_m and step size alpha_m are each
matrix's own. U = 0, b = 0, o = 0, s = 1 at the start, which makes f the identity; alpha starts from +edit_lr, with the
released plus sign: the network learns the direction (eric-mitchell/mend algs/mend.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.token_gradients import Matrix, TokenGradients

STD_FLOOR = 1e-7


class RunningMoments(nn.Module):
    """Mean and unbiased standard deviation of vectors (d,), one token after another (Welford's sums, joined).

    Args:
        width: d.
        dtype: of the sums.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=dtype))
        self.register_buffer("mean", torch.zeros(width, dtype=dtype))
        self.register_buffer("squares", torch.zeros(width, dtype=dtype))

    @torch.no_grad()
    def update(self, vectors: Tensor) -> None:
        """Take in (n, d) vectors; the same as one by one, up to rounding."""
        if len(vectors) == 0:
            return
        n = len(vectors)
        total = self.count + n
        mean = vectors.mean(dim=0)
        step = mean - self.mean
        self.squares += (vectors - mean).square().sum(dim=0) + step.square() * self.count * n / total
        self.mean += step * n / total
        self.count.copy_(total)

    def standardise(self, vectors: Tensor) -> Tensor:
        """(n, d) vectors minus the mean, by the standard deviation."""
        std = (self.squares / (self.count - 1).clamp(min=1)).sqrt()
        return (vectors - self.mean) / (std + STD_FLOOR)


class LowRankLayer(nn.Module):
    """``h + relu(s_m * (U V h + b) + o_m)``; the identity at the start.

    Args:
        width: of h.
        rank: of U V, at most ``width``.
        members: matrices that share the layer.
        generator: draws V.
        dtype: of the parameters.
    """

    def __init__(self, width: int, rank: int, members: int, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        rank = min(rank, width)
        self.u = nn.Parameter(torch.zeros(width, rank, dtype=dtype))
        self.v = nn.Parameter(torch.randn(rank, width, generator=generator, dtype=torch.float64).to(dtype))
        self.bias = nn.Parameter(torch.zeros(width, dtype=dtype))
        self.scale = nn.Parameter(torch.ones(members, width, dtype=dtype))
        self.shift = nn.Parameter(torch.zeros(members, width, dtype=dtype))

    def forward(self, h: Tensor, member: Tensor) -> Tensor:
        """(n, width) to (n, width); ``member`` (n,) says whose scale and shift a row takes."""
        inner = (h @ self.v.T) @ self.u.T + self.bias
        # clamp, not relu: everything starts at exactly 0, where relu's gradient is 0 and nothing would be learnt.
        return h + (inner * self.scale[member] + self.shift[member]).clamp(min=0)


class ShapeNetwork(nn.Module):
    """What the matrices of one shape (d_o, d_k) share."""

    def __init__(
        self,
        shape: tuple[int, int],
        rank: int,
        members: int,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.d_o, self.d_k = shape
        width = self.d_o + self.d_k
        self.x_moments = RunningMoments(self.d_k, dtype)
        self.d_moments = RunningMoments(self.d_o, dtype)
        self.layers = nn.ModuleList(LowRankLayer(width, rank, members, generator, dtype) for _ in range(2))

    def forward(self, x: Tensor, d: Tensor, member: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d_k) and (n, d_o) to the same, transformed."""
        h = torch.cat([self.x_moments.standardise(x), self.d_moments.standardise(d)], dim=1)
        for layer in self.layers:
            h = layer(h, member)
        out_x, out_d = h.split([self.d_k, self.d_o], dim=1)
        return out_x, out_d


class MendNetwork(nn.Module):
    """The networks of all shapes, and each matrix's step size.

    Args:
        matrices: the edited matrices, in the order of `alphas`.
        rank: rank of the layers.
        edit_lr: what the step sizes start from.
        seed: seed of V.
        dtype: of the parameters: float32, or float64 for a float64 model.
    """

    def __init__(
        self,
        matrices: Sequence[Matrix],
        rank: int,
        *,
        edit_lr: float = 1e-4,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.matrices = tuple(matrices)
        self.rank = rank
        generator = torch.Generator().manual_seed(seed)
        self._sharing: dict[tuple[int, int], list[int]] = {}
        for index, matrix in enumerate(self.matrices):
            self._sharing.setdefault(matrix.shape, []).append(index)
        self.shapes = nn.ModuleDict(
            {
                f"{shape[0]}x{shape[1]}": ShapeNetwork(shape, rank, len(members), generator, dtype)
                for shape, members in self._sharing.items()
            }
        )
        self.alphas = nn.Parameter(torch.full((len(self.matrices),), edit_lr, dtype=dtype))

    def network_parameters(self) -> list[nn.Parameter]:
        """All parameters but the step sizes."""
        return list(self.shapes.parameters())

    def observe(self, gradients: Sequence[TokenGradients]) -> None:
        """Take the kept tokens of every matrix into the running moments; for training only."""
        for shape, members in self._sharing.items():
            network = self._network(shape)
            for index in members:
                found = gradients[index]
                network.x_moments.update(found.x[found.kept])
                network.d_moments.update(found.d[found.kept])

    def updates(self, gradients: Sequence[TokenGradients]) -> list[tuple[Tensor, Tensor]]:
        """Left and right factors of each matrix's update, row by row: token t of row r adds u[r,:,t] v[r,:,t]^T.

        Args:
            gradients: one entry per matrix, of the same r rows.

        Returns:
            Per matrix u (r, d_o, tokens) with alpha in it and v (r, d_k, tokens); zero where a token is dropped.
        """
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for shape, members in self._sharing.items():
            counts = [int(gradients[index].kept.sum()) for index in members]
            x = torch.cat([gradients[index].x[gradients[index].kept] for index in members])
            d = torch.cat([gradients[index].d[gradients[index].kept] for index in members])
            member = torch.arange(len(members), device=x.device).repeat_interleave(
                torch.tensor(counts, device=x.device)
            )
            out_x, out_d = self._network(shape)(x, d, member)
            for index, part_x, part_d in zip(members, out_x.split(counts), out_d.split(counts), strict=True):
                found[index] = (
                    _spread(part_d * self.alphas[index], gradients[index].kept),
                    _spread(part_x, gradients[index].kept),
                )
        return [found[index] for index in range(len(self.matrices))]

    def _network(self, shape: tuple[int, int]) -> ShapeNetwork:
        network = self.shapes[f"{shape[0]}x{shape[1]}"]
        assert isinstance(network, ShapeNetwork)
        return network


def _spread(values: Tensor, kept: Tensor) -> Tensor:
    """(n, d) values of the kept tokens to (r, d, tokens), zero elsewhere."""
    wide = values.new_zeros(*kept.shape, values.shape[1])
    return wide.masked_scatter(kept[:, :, None], values).transpose(1, 2)
