"""A family's paths against the modules of a model: everything that is wrong with them, in one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from torch import nn

from pytest_editpitfalls.errors import UsageError

from .families import Family
from .matrices import is_matrix, matrix_shape

SHOWN = 6
"""Names that are offered for a wrong one, the nearest first."""


def check_paths(model: nn.Module, family: Family) -> None:
    """Compare every path of ``family`` with every block of ``model``, whose weights may be on the meta device.

    Raises:
        UsageError: a path names no module, or one of the wrong kind; names all that are wrong, and what is there.
    """
    mistakes = list(_mistakes(model, family))
    if mistakes:
        origin = f" of {family.origin}" if family.origin else ""
        raise UsageError(
            f"the declaration does not fit {type(model).__name__}: {'; '.join(dict.fromkeys(mistakes))}",
            where=f"family '{family.name}'{origin}",
            fix="correct these paths of the declaration; docs/families.md shows how one is written",
        )


def _mistakes(model: nn.Module, family: Family) -> Iterator[str]:
    blocks = found_at(model, family.blocks)
    if not isinstance(blocks, nn.ModuleList | nn.Sequential) or not len(blocks):
        lists = list(_lists(model))
        if isinstance(blocks, nn.Module):
            yield f"blocks '{family.blocks}' is a {type(blocks).__name__}, not a list of blocks{_or(lists)}"
        else:
            yield f"blocks '{family.blocks}': {blocks}{_or(lists)}"
        if len(lists) != 1:
            return
        path = lists[0]  # so that wrong paths inside of a block are in the same message
    else:
        path = family.blocks
    for layer, block in enumerate(model.get_submodule(path).children()):
        wrong = list(_mistakes_in(block, f"{path}.{layer}", family))
        yield from wrong
        if wrong:
            return  # other blocks repeat them


def _mistakes_in(block: nn.Module, where: str, family: Family) -> Iterator[str]:
    matrices = {"down_projection": family.down_projection, "attention_output": family.attention_output}
    matrices |= {f"up_projections[{nth}]": path for nth, path in enumerate(family.up_projections)}
    if family.mlp and not isinstance(found := found_at(block, family.mlp, where), nn.Module):
        yield f"mlp '{family.mlp}': {found}"
    widths: dict[str, int] = {}
    for key, path in matrices.items():
        if key == "down_projection" and family.mixture:
            continue
        found = found_at(block, path, where)
        if not isinstance(found, nn.Module):
            yield f"{key} '{path}': {found}"
        elif not is_matrix(found):
            yield f"{key} '{path}' is a {type(found).__name__}, not a matrix (torch.nn.Linear or Conv1D)"
        else:
            d_o, d_k = matrix_shape(found)
            widths[f"{key} '{path}' {'takes' if key.startswith('up') else 'returns'}"] = (
                d_k if key.startswith("up") else d_o
            )
    if len(set(widths.values())) > 1:
        yield "widths differ where all have the residual stream's: " + ", ".join(
            f"{what} {width}" for what, width in widths.items()
        )


def found_at(module: nn.Module, path: str, where: str = "") -> nn.Module | str:
    """The module at ``path``, or in words what is missing and what is there instead; ``where`` names ``module``."""
    reached = where
    for name in path.split(".") if path else ():
        below = dict(module.named_children())
        if name not in below:
            place = f" ('{reached}')" if reached else ""
            near = difflib.get_close_matches(name, below, n=SHOWN, cutoff=0.0)
            return f"{type(module).__name__}{place} has no '{name}'" + (f", but {', '.join(near)}" if near else "")
        module, reached = below[name], f"{reached}.{name}" if reached else name
    return module


def _lists(model: nn.Module) -> Iterator[str]:
    """Paths of lists of modules that are in no other list."""
    outer: list[str] = []
    for path, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and not any(path.startswith(f"{each}.") for each in outer):
            outer.append(path)
            yield path


def _or(lists: list[str]) -> str:
    return f" (lists of modules: {', '.join(lists)})" if lists else ""
