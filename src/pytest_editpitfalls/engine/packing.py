"""Passes without padding: what works on each token by itself gets only the tokens that matter.

That is the MLPs and the projections around the attention, which hold nearly all of a block's weights. The attention
itself needs rows, so each of these modules has its input gathered and its output put back in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .matrices import is_matrix
from .model_adapter import ModelAdapter

Anatomy = tuple[tuple[int, int], ...]


@dataclass
class _Place:
    """A module of a block that works token by token.

    Attributes:
        path: inside the block.
        answers: whether only the block's own output depends on its output (keys and values do not).
        loaded: what it consisted of when it was called with hidden states alone; None if it never was.
        inside: the MLP that it is a part of, if any: where that can be given fewer tokens, so is this.
    """

    path: str
    answers: bool
    loaded: Anatomy | None = None
    inside: _Place | None = None

    @property
    def packs(self) -> bool:
        """Whether it is to be given the tokens that matter only."""
        return self.loaded is not None and (self.inside is None or self.inside.loaded is None)


class TokenPacking:
    """The token-wise modules of a model's blocks, for use by passes over padded rows.

    A module is left alone where it is not as it was loaded, since its replacement may depend on rows and columns: a
    hook of the overlay or of an editor, a replaced module, a replaced ``forward``. So is a module that is not called
    with hidden states alone.
    """

    def __init__(self, host: ModelAdapter) -> None:
        self._host = host
        self._places = [_places(host, block) for block in host.blocks]

    @contextmanager
    def learning(self) -> Iterator[None]:
        """While open, a pass of one token through the whole model shows how each module is called."""
        with ExitStack() as stack:
            for block, places in zip(self._host.blocks, self._places, strict=True):
                for place in places:
                    module = block.get_submodule(place.path)
                    handle = module.register_forward_hook(_learner(place, _anatomy(module)), with_kwargs=True)
                    stack.callback(handle.remove)
            yield

    @contextmanager
    def of(self, layers: range, tokens: Tensor | None, asked: Tensor | None, count: int) -> Iterator[None]:
        """While open, one pass over ``layers`` computes only some tokens; the modules return zeros for the others.

        Args:
            tokens: (t,) places in the flattened rows that matter; None means all.
            asked: (a,) those of them for which the last block has to return an output; None means all.
            count: rows times columns.
        """
        with ExitStack() as stack:
            for layer in layers if tokens is not None or asked is not None else ():
                block = self._host.blocks[layer]
                found = [(place, _as_loaded(block, place)) for place in self._places[layer] if place.packs]
                ends = asked is not None and layer == layers[-1]
                if ends and (_is_watched(block) or any(module is None for _, module in found)):
                    ends = False  # a hook on the last block may need the tokens that are not asked for
                for place, module in found:
                    wanted = asked if ends and place.answers else tokens
                    if wanted is not None and module is not None:
                        gather, scatter = _between(wanted, count)
                        stack.callback(module.register_forward_pre_hook(gather).remove)
                        stack.callback(module.register_forward_hook(scatter).remove)
            yield


def _places(host: ModelAdapter, block: nn.Module) -> list[_Place]:
    """The MLP as a whole, its declared matrices, and every matrix outside of it.

    The declared ones stand in for an MLP that is called with more than hidden states, as Bloom's is. Others inside are
    no places: those of experts get some of the tokens each.
    """
    family = host.family
    mlp = _Place(family.mlp, answers=True) if family.mlp else None
    declared = {family.attention_output, family.down_projection, *family.up_projections}
    found = [] if mlp is None else [mlp]
    for path, module in block.named_modules():
        inside = mlp is not None and f"{path}.".startswith(f"{mlp.path}.")
        if is_matrix(module) and (path in declared or not inside):
            found.append(_Place(path, answers=path in declared, inside=mlp if inside else None))
    return found


def _learner(place: _Place, anatomy: Anatomy) -> Callable[..., None]:
    def learn(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            one_token = args[0].shape[:-1].numel() == output.shape[:-1].numel() == 1
            place.loaded = anatomy if one_token else None

    return learn


def _as_loaded(block: nn.Module, place: _Place) -> nn.Module | None:
    """The module if nothing of it has been replaced and there is no hook inside."""
    try:
        module = block.get_submodule(place.path)
    except AttributeError:  # an in-place editor may have put another block there
        return None
    return None if _anatomy(module) != place.loaded or _is_watched(module) else module


def _anatomy(module: nn.Module) -> Anatomy:
    """What a module consists of: its modules, and the ``forward`` of those that were given one of their own."""
    return tuple((id(part), id(vars(part).get("forward"))) for part in module.modules())


def _is_watched(module: nn.Module) -> bool:
    """Whether there is a hook on it or on anything inside of it."""
    # Names of torch's that have not changed since its first versions; `overlay.difference` reads them, too.
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def _between(tokens: Tensor, count: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A hook that gathers a module's input, (rows, columns, d) to (1, t, d), and one that puts its output back."""
    shapes: list[torch.Size] = []

    def gather(_module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        shape = args[0].shape[:-1]
        if shape.numel() != count:
            shapes.clear()
            return None
        shapes[:] = [shape]
        chosen = args[0].flatten(0, -2).index_select(0, tokens.to(args[0].device))
        return (chosen[None] if len(shape) > 1 else chosen,)

    def scatter(_module: nn.Module, _args: tuple[Tensor], output: Tensor) -> Tensor:
        if not shapes:
            return output
        every = output.new_zeros(count, output.shape[-1])
        given = output.flatten(0, -2)
        return every.index_copy_(0, tokens.to(output.device), given).reshape(*shapes.pop(), -1)

    return gather, scatter
