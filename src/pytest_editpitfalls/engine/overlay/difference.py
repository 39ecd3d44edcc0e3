"""What an in-place edit left behind: changed tensors, and things attached to modules where the editor keeps such."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

ABSENT: Any = type("Absent", (), {"__repr__": lambda _: "ABSENT", "__deepcopy__": lambda self, _: self})()
"""Stands for a key that is not there."""

HOOKS = {
    "_forward_hooks": "forward hook",
    "_forward_pre_hooks": "forward pre-hook",
    "_backward_hooks": "backward hook",
    "_backward_pre_hooks": "backward pre-hook",
    "_state_dict_hooks": "state-dict hook",
    "_state_dict_pre_hooks": "state-dict pre-hook",
    "_load_state_dict_pre_hooks": "load-state-dict hook",
    "_load_state_dict_post_hooks": "load-state-dict hook",
}
"""A module's tables of hooks and what one entry is called."""

TABLES = {
    **HOOKS,
    "_forward_hooks_with_kwargs": "",
    "_forward_hooks_always_called": "",
    "_forward_pre_hooks_with_kwargs": "",
    "_modules": "module",
    "_buffers": "buffer",
    "_parameters": "parameter",
}
"""A module's tables; those without a word only describe entries of others."""


@dataclass(frozen=True)
class Attachment:
    """One entry of a module that is not as in the base model.

    Attributes:
        path: full name of the module; empty for the model itself.
        module: the base model's module.
        table: name of its table ("_forward_hooks", "_modules"), or empty for a plain attribute.
        key: the entry.
        before: what the base model has there, or ABSENT.
        value: what was left there, or ABSENT.
    """

    path: str
    module: nn.Module
    table: str
    key: Any
    before: Any
    value: Any

    @property
    def entries(self) -> dict[Any, Any]:
        """The dictionary that the entry is in."""
        found: dict[Any, Any] = vars(self.module)[self.table] if self.table else vars(self.module)
        return found

    def describe(self) -> str:
        """In words: "a forward hook on 'model.layers.3.mlp'"; empty for what only accompanies another entry."""
        where = f"'{self.path}'" if self.path else "the model"
        kind = TABLES[self.table] if self.table else "attribute"
        if not kind:
            return ""
        if self.table in HOOKS:
            return f"{'no' if self.value is ABSENT else 'a'} {kind} on {where}"
        verb = (
            "an added"
            if self.before is ABSENT
            else "a removed"
            if self.value is ABSENT
            else "a replaced"
            if self.table
            else "a changed"
        )
        return f"{verb} {kind} '{self.key}' on {where}"


@dataclass(frozen=True)
class ModelDifference:
    """The difference between an edited model object and the base model.

    Attributes:
        values: name of the changed parameter or buffer -> its new value; tied weights are one entry.
        attachments: hooks, modules and other objects that the edited model has besides.
        declares_independent_rows: whether the editor says that its attachments answer each row by that row alone.
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    attachments: Sequence[Attachment] = ()
    declares_independent_rows: bool = False

    @property
    def whole_rows(self) -> bool:
        return bool(self.attachments)

    @property
    def independent_rows(self) -> bool:
        return not self.attachments or self.declares_independent_rows

    def _tensors(self) -> Iterator[Tensor]:
        yield from self.values.values()
        seen: set[int] = {id(each.module) for each in self.attachments}
        for attachment in self.attachments:
            value = attachment.value
            if isinstance(value, Tensor):
                yield value.data
            if isinstance(value, nn.Module) and id(value) not in seen:
                seen.add(id(value))
                base = {id(t) for t in _own_tensors(attachment.before)}
                yield from (tensor.data for tensor in _own_tensors(value) if id(tensor) not in base)

    def is_finite(self) -> bool:
        return self.not_finite() is None

    def not_finite(self) -> str | None:
        """Name of a tensor with NaN or infinity in it, or None."""
        for name, value in self.values.items():
            if not bool(value.isfinite().all()):
                return name
        return None if all(bool(t.isfinite().all()) for t in self._tensors()) else "a tensor of what it attached"

    def nbytes(self) -> int:
        return sum(int(tensor.nbytes) for tensor in self._tensors())

    def lowest_layer(self, blocks: str, n_layers: int) -> int:
        lowest = n_layers
        if self.attachments:
            return lowest  # scored in whole rows, beside the blocks that others share
        for name in self.values:
            owner, _, rest = name.partition(f"{blocks}.")
            index = rest.split(".", 1)[0]
            if not owner and index.isdigit():
                lowest = min(lowest, int(index))
            elif not _follows_blocks(name):
                return 0
        return lowest

    @contextmanager
    def applied(self, model: Any) -> Iterator[None]:
        """While open, ``model`` is the edited one. Tensors change their data, so ties and references hold."""
        with ExitStack() as stack:
            for name, value in self.values.items():
                tensor = tensor_of(model, name)
                stack.callback(setattr, tensor, "data", tensor.data)
                tensor.data = value
            stack.enter_context(attached(self.attachments))
            yield

    def own_attachments(self, model: Any, shared: Iterable[Any] = ()) -> list[Attachment]:
        """Copies of the attachments that an edit on top of this one may write; the base model's parts are shared.

        Raises:
            Exception: whatever copying an attached object raises.
        """
        kept = [*model.modules(), *model.parameters(), *model.buffers(), *shared]
        for each in self.attachments:
            kept += [each.module, *each.module.parameters(), *each.module.buffers()]
            if isinstance(each.before, nn.Module):
                kept += [*each.before.modules(), *each.before.parameters(), *each.before.buffers()]
        memo = {id(each): each for each in kept}
        values = copy.deepcopy([each.value for each in self.attachments], memo)
        return [
            Attachment(each.path, each.module, each.table, each.key, each.before, value)
            for each, value in zip(self.attachments, values, strict=True)
        ]


@contextmanager
def attached(attachments: Sequence[Attachment]) -> Iterator[None]:
    """While open, these entries are on their modules; afterwards each table is as it was, order included."""
    touched: dict[int, tuple[dict[Any, Any], dict[Any, Any]]] = {}
    try:
        for each in attachments:
            entries = each.entries
            touched.setdefault(id(entries), (entries, dict(entries)))
            put(entries, each.key, each.value)
        yield
    finally:
        for entries, before in reversed(touched.values()):
            entries.clear()
            entries.update(before)


def put(entries: dict[Any, Any], key: Any, value: Any) -> None:
    """Set the entry, or take it away where ``value`` is ABSENT."""
    if value is ABSENT:
        entries.pop(key, None)
    else:
        entries[key] = value


def tensor_of(model: nn.Module, name: str) -> Tensor:
    """The parameter or buffer of that full name."""
    path, _, key = name.rpartition(".")
    owner = model.get_submodule(path)
    found: Tensor | None = owner._parameters.get(key)
    found = owner._buffers[key] if found is None else found
    assert found is not None
    return found


def _own_tensors(value: Any) -> list[Tensor]:
    return [*value.parameters(), *value.buffers()] if isinstance(value, nn.Module) else []


def _follows_blocks(name: str) -> bool:
    """Whether the tensor is read behind the last block alone: the separate head."""
    return name.startswith(("lm_head.", "embed_out."))
