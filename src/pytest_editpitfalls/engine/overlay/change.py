"""What an edited model is: the base model plus changes. How a change is applied to rows of one batch.

A new kind of change is a dataclass with `Change`'s methods; nothing else has to know about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from pytest_editpitfalls.engine.model_adapter import ForwardHook as ForwardHook


@dataclass
class RowContext:
    """The rows of the passes that run now: what a change may know of them.

    Attributes:
        models: (rows,) index of the edited model that answers each row; a single index serves every row.
        lengths: (rows,) tokens of each row, which starts at column 0; None where every column is one.
        continues: whether these rows go on with prompts of an earlier pass (their keys and values are kept).
        routes: what a change decided for each row on its prompt and needs again when the row goes on: name of
            the module -> (rows, ...).
    """

    models: Tensor
    lengths: Tensor | None = None
    continues: bool = False
    routes: dict[str, Tensor] = field(default_factory=dict)

    def take(self, rows: Tensor) -> RowContext:
        """These rows, going on: some may be repeated."""
        routes = {name: route[rows] for name, route in self.routes.items()}
        return RowContext(self.models[rows], None, True, routes)

    @classmethod
    def joined(cls, parts: Sequence[RowContext]) -> RowContext:
        """Rows of several passes of which the same has been decided, going on together."""
        routes = {name: torch.cat([part.routes[name] for part in parts]) for name in parts[0].routes}
        return cls(torch.cat([part.models for part in parts]), None, True, routes)

    def model_of(self, count: int) -> Tensor:
        """(count,) index of each row's edited model."""
        return self.models if len(self.models) == count else self.models.expand(count)

    def split(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(rows,) index of each row's edited model, and a module's ``inputs`` as (rows, tokens, d).

        A model may flatten (rows, tokens) before its MLP (OPT); the number of rows is then that of this context.
        """
        flat = len(self.models if self.lengths is None else self.lengths)
        count = inputs.shape[0] if inputs.ndim == 3 else flat
        return self.model_of(count), inputs.reshape(count, -1, inputs.shape[-1])

    def real(self, count: int, width: int) -> Tensor:
        """(count, width) whether a column is a token and not padding."""
        if self.lengths is None:
            return torch.ones(count, width, dtype=torch.bool, device=self.models.device)
        return torch.arange(width, device=self.models.device) < self.lengths[:, None]

    def last(self, count: int, width: int) -> Tensor:
        """(count,) column of each row's last token."""
        if self.lengths is None:
            return torch.full((count,), width - 1, device=self.models.device)
        return self.lengths - 1


class Stacked(Protocol):
    """Changes of one kind to one module, of all edited models together."""

    def hook(self, rows: RowContext) -> ForwardHook | None:
        """The forward hook of the module that serves ``rows``; None where none of them is changed.

        The hook may read ``rows`` when it is called, and write `RowContext.routes` on prompts.
        """


@runtime_checkable
class OwnWeights(Protocol):
    """What `Stacked` may have besides: weights that stand in the module's place while a pass is one model's alone."""

    def own_weights(self, rows: RowContext, module: Any) -> AbstractContextManager[None] | None:
        """What puts them there and takes them away again; None where `Stacked.hook` has to serve these rows."""


@runtime_checkable
class Change(Protocol):
    """Something that an edit does to one module: its output is changed, row by row.

    Attributes:
        module: full name of the module inside the model.

    Where what it does to a token depends on that token alone, it says so with a class attribute ``token_wise = True``;
    prompts that start alike then share their start.
    """

    @property
    def module(self) -> str: ...

    def is_finite(self) -> bool:
        """Whether there is no NaN and no infinity in it."""

    def nbytes(self) -> int:
        """Bytes that it keeps."""

    @classmethod
    def stack(cls, changes: Sequence[Sequence[Any]]) -> Stacked:
        """Changes of this kind to one module: one sequence per edited model, which may be empty."""


@runtime_checkable
class Replacement(Protocol):
    """A change to the model object itself, as an in-place editor makes it: it serves no other row at that time.

    Attributes:
        whole_rows: whether prompt and target must run in one pass of the whole model, because something on the
            model (a hook, a replaced module) may look at more than one layer or more than the new tokens.
        independent_rows: whether a row's answer is the same whatever other rows share its pass.
    """

    @property
    def whole_rows(self) -> bool: ...

    @property
    def independent_rows(self) -> bool: ...

    def is_finite(self) -> bool:
        """Whether there is no NaN and no infinity in it."""

    def nbytes(self) -> int:
        """Bytes that it keeps."""

    def lowest_layer(self, blocks: str, n_layers: int) -> int:
        """Index of the lowest block that it touches; 0 where it touches what comes before the blocks.

        Args:
            blocks: full name of the list of blocks.
            n_layers: number of blocks; returned where only what follows them is touched.
        """

    def applied(self, model: Any) -> AbstractContextManager[None]:
        """While open, ``model`` is the edited one; afterwards it is as it was, bit for bit."""


EditedModel = tuple[Any, ...]
"""One edited model: the base model plus `Change`s (deltas add up, in any order), `PromptPrefix`es (joined in order)
or `Replacement`s (applied in order)."""


@dataclass(frozen=True)
class PromptPrefix:
    """``text`` goes before every prompt that the edited model is asked; several are joined in their order."""

    text: str

    def is_finite(self) -> bool:
        return True

    def nbytes(self) -> int:
        return len(self.text.encode())


def prefix_of(model: EditedModel) -> str:
    """All prefixes of an edited model, joined."""
    return "".join(change.text for change in model if isinstance(change, PromptPrefix))


def without(model: EditedModel, kind: type[Any]) -> EditedModel:
    """The edited model without its changes of one kind."""
    return tuple(change for change in model if not isinstance(change, kind))


def not_finite(model: EditedModel) -> str | None:
    """Names the module of the first change with NaN or infinity in it; None where there is none."""
    for change in model:
        if not change.is_finite():
            module = getattr(change, "module", None)  # a `Replacement` has none
            return f"the update{f' of {module!r}' if module else ''} is not finite (NaN or infinity)"
    return None
