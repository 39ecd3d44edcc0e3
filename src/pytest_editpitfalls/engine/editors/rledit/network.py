"""RLEdit's network: turns a token's input and gradient into the change of output that is wanted there (Li et al. 2025).

    h = [(x - mean_x) / std_x ; (g - mean_g) / std_g]
    f(h) = h + s_m * relu(h A B + b) + o_m              n_blocks times
    v = -eta_m (x . x~) g~                              (x~ ; g~) = f(...f(h))

with the raw x in the product. Matrices of one shape share the blocks, mean and spread; scale s_m, shift o_m, step size
eta_m and ridge e^lambda_m are each matrix's own. B = 0, b = 0, o = 0, s = 1 and lambda = 0 at the start, which makes f
the identity. Mean and spread are those of `lifelong_updates` (zhrli324/RLEdit, nets.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.lifelong_updates import MomentsByShape, TokenMoments, shape_name
from pytest_editpitfalls.engine.token_gradients import Matrix


class ResidualBlock(nn.Module):
    """``h + s_m * relu(h A B + b) + o_m``; the identity at the start.

    Args:
        width: of h.
        rank: of A B.
        members: matrices that share the block.
        generator: draws A.
        dtype: of the parameters.
    """

    def __init__(self, width: int, rank: int, members: int, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(width, rank, generator=generator, dtype=torch.float64).to(dtype))
        self.b = nn.Parameter(torch.zeros(rank, width, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(width, dtype=dtype))
        self.scale = nn.Parameter(torch.ones(members, width, dtype=dtype))
        self.shift = nn.Parameter(torch.zeros(members, width, dtype=dtype))

    def forward(self, h: Tensor, member: int) -> Tensor:
        """(n, width) to (n, width) for one of the matrices."""
        # clamp, not relu: everything starts at exactly 0, where relu's gradient is 0 and nothing would be learnt.
        inner = (h @ self.a @ self.b + self.bias).clamp(min=0)
        return h + self.scale[member] * inner + self.shift[member]


class ShapeNetwork(nn.Module):
    """What the matrices of one shape (d_o, d_k) share, and their own step sizes and ridges."""

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(
        self,
        width: int,
        rank: int,
        n_blocks: int,
        members: int,
        lr: float,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(width, rank, members, generator, dtype) for _ in range(n_blocks))
        self.step_sizes = nn.Parameter(torch.full((members,), lr, dtype=dtype))
        self.log_ridges = nn.Parameter(torch.zeros(members, dtype=dtype))
        self.register_buffer("count", torch.zeros((), dtype=dtype))
        self.register_buffer("mean", torch.zeros(width, dtype=dtype))
        self.register_buffer("squares", torch.zeros(width, dtype=dtype))

    def forward(self, h: Tensor, member: int) -> Tensor:
        """(n, width) to the same, transformed."""
        for block in self.blocks:
            h = block(h, member)
        return h


class RleditNetwork(nn.Module):
    """The networks of all shapes.

    Args:
        matrices: the edited matrices.
        rank: rank of the blocks.
        n_blocks: blocks of each shape's network.
        lr: what the step sizes start from.
        seed: seed of A.
        dtype: of the parameters: float32, or float64 for a float64 model.
    """

    def __init__(
        self,
        matrices: Sequence[Matrix],
        rank: int,
        n_blocks: int,
        *,
        lr: float = 1e-6,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.matrices = tuple(matrices)
        self.rank, self.n_blocks = rank, n_blocks
        generator = torch.Generator().manual_seed(seed)
        names = [shape_name(matrix) for matrix in self.matrices]
        self._members = [names[:index].count(name) for index, name in enumerate(names)]
        self.shapes = nn.ModuleDict(
            {
                shape_name(matrix): ShapeNetwork(
                    matrix.d_o + matrix.d_k, rank, n_blocks, names.count(shape_name(matrix)), lr, generator, dtype
                )
                for matrix in dict.fromkeys(self.matrices)
                if names.index(shape_name(matrix)) == self.matrices.index(matrix)
            }
        )

    def moments(self) -> MomentsByShape:
        """Mean and spread of all tokens that it was trained on."""
        found: MomentsByShape = {}
        for name in self.shapes:
            shape = self._shape(name)
            found[name] = TokenMoments(int(shape.count), shape.mean.double(), shape.squares.double())
        return found

    @torch.no_grad()
    def keep(self, moments: MomentsByShape) -> None:
        """Take these moments for its own; for training only."""
        for name, own in moments.items():
            shape = self._shape(name)
            shape.count.fill_(own.count)
            shape.mean.copy_(own.mean)
            shape.squares.copy_(own.squares)

    def wanted(self, index: int, x: Tensor, standardised: Tensor) -> Tensor:
        """(n, d_o) changes of one matrix's outputs; float64.

        Args:
            index: place of the matrix.
            x: (n, d_k) its inputs.
            standardised: (n, d_k + d_o) inputs and gradients, standardised.
        """
        matrix, member = self.matrices[index], self._members[index]
        shape = self._shape(shape_name(matrix))
        out = shape(standardised.to(shape.step_sizes.dtype), member)
        x_out, g_out = out.split([matrix.d_k, matrix.d_o], dim=1)
        size = (x.to(x_out.dtype) * x_out).sum(dim=1, keepdim=True)
        changes: Tensor = -shape.step_sizes[member] * size * g_out
        return changes.double()

    def ridge(self, index: int) -> Tensor:
        """e^lambda of one matrix; float64."""
        return self._shape(shape_name(self.matrices[index])).log_ridges[self._members[index]].double().exp()

    def _shape(self, name: str) -> ShapeNetwork:
        network = self.shapes[name]
        assert isinstance(network, ShapeNetwork)
        return network
