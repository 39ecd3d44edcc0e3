"""Modules, hooks, attributes and ties of a model: recorded, compared and put back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pytest_editpitfalls.engine.overlay.difference import ABSENT, HOOKS, TABLES, Attachment
from pytest_editpitfalls.errors import CaseError

_CONFIGS = ("config", "generation_config")
_QUIET = {"training", "_is_full_backward_hook", "_non_persistent_buffers_set"}
_SETTINGS = {"_gradient_checkpointing_func"}
"""Callables of a module that are no part of what it computes: gradient_checkpointing_disable() leaves this one."""
_INPUT_GRADIENTS = "make_inputs_require_grads"
"""The hook of transformers that comes with gradient checkpointing; what it passes on is the same."""
_GLOBAL = {
    "_global_forward_hooks": "forward hook",
    "_global_forward_pre_hooks": "forward pre-hook",
    "_global_backward_hooks": "backward hook",
    "_global_backward_pre_hooks": "backward pre-hook",
}


class Structure:
    """What a model is made of.

    Attributes:
        places: every module with its full name.
        tensors: first full name of every parameter and buffer -> the object; tied weights are one.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self.places = [(module, path) for path, module in model.named_modules()]
        self._tables = [{name: dict(vars(module).get(name, {})) for name in TABLES} for module, _ in self.places]
        self._plain = [_plain(module) for module, _ in self.places]
        self._classes = [type(module) for module, _ in self.places]
        kinds = {kind for own in self._classes for kind in own.__mro__ if issubclass(kind, nn.Module)}
        self._class_tables = {kind: dict(vars(kind)) for kind in kinds}
        self._global = {name: dict(getattr(nn.modules.module, name, {})) for name in _GLOBAL}
        self._configs = {
            name: dict(vars(found))
            for name in _CONFIGS
            if (found := getattr(model, name, None)) is not None and hasattr(found, "__dict__")
        }
        self.tensors: dict[str, Tensor] = {}
        self._homes: dict[str, list[tuple[nn.Module, str, str, str]]] = {}
        names: dict[int, str] = {}
        for module, path in self.places:
            for table in ("_parameters", "_buffers"):
                for key, tensor in vars(module)[table].items():
                    if tensor is None:
                        continue
                    full = f"{path}.{key}" if path else key
                    name = names.setdefault(id(tensor), full)
                    self.tensors.setdefault(name, tensor)
                    self._homes.setdefault(name, []).append((module, table, key, full))

    def attachments(self, notes: list[str]) -> list[Attachment]:
        """Entries that are not the base model's; changed plain values become notes (they are restored).

        Raises:
            CaseError: something that is on no module: a global hook, a gradient hook, another class.
        """
        found: list[Attachment] = []
        plain: list[str] = []
        for (module, path), tables, values, kind in zip(
            self.places, self._tables, self._plain, self._classes, strict=True
        ):
            for name, before in tables.items():
                now = vars(module)[name]
                for key in dict.fromkeys([*before, *now]):
                    old, new = before.get(key, ABSENT), now.get(key, ABSENT)
                    is_value = isinstance(old, Tensor) and isinstance(new, Tensor)
                    if name in HOOKS and getattr(new, "__name__", None) == _INPUT_GRADIENTS:
                        plain.append(f"{path}: gradients of its inputs")
                    elif old is not new and not is_value:
                        found.append(Attachment(path, module, name, key, old, new))
            now = _plain(module)
            for key in dict.fromkeys([*values, *now]):
                old, new = values.get(key, ABSENT), now.get(key, ABSENT)
                if _is_same(old, new):
                    continue
                held = [each for each in (old, new) if each is not ABSENT and key not in _SETTINGS]
                if any(callable(each) or isinstance(each, Tensor) for each in held):
                    found.append(Attachment(path, module, "", key, old, new))
                else:
                    plain.append(f"{path}.{key}" if path else str(key))
            if type(module) is not kind:
                raise CaseError(f"changed the class of '{path or 'the model'}' to {type(module).__name__}")
        plain += self._changed_configs()
        if plain:
            notes.append(f"left {first_of(plain)} changed: restored")
        self._check_elsewhere()
        return found

    def replaced(self) -> set[str]:
        """Names of tensors of which a module holds another object than the base model's."""
        return {
            name
            for name, homes in self._homes.items()
            if any(vars(module)[table].get(key) is not self.tensors[name] for module, table, key, _ in homes)
        }

    def current(self) -> dict[str, Tensor]:
        """Data of every tensor of `tensors` as it is now.

        Raises:
            CaseError: tied weights are no longer tied.
        """
        values: dict[str, Tensor] = {}
        for name, homes in self._homes.items():
            now = {full: vars(module)[table].get(key) for module, table, key, full in homes}
            objects = {id(tensor): tensor for tensor in now.values() if tensor is not None}
            if len(objects) > 1:
                raise CaseError(
                    f"untied the weights {' and '.join(now)}",
                    fix="write to the shared weight itself: with torch.no_grad(): weight.copy_(new)",
                )
            (tensor,) = objects.values() or (self.tensors[name],)
            values[name] = tensor.data
        return values

    def current_of(self, edited: nn.Module) -> dict[str, Tensor]:
        """Data of every tensor, by name, of another model object of the same make.

        Raises:
            CaseError: it has other modules, tensors or hooks.
        """
        theirs = dict(edited.named_modules())
        for (_module, path), tables in zip(self.places, self._tables, strict=True):
            if path not in theirs:
                raise CaseError(f"returned a model without the module '{path}'", fix=_SAME)
            for name, word in HOOKS.items():
                if len(vars(theirs[path]).get(name, {})) != len(tables[name]):
                    raise CaseError(f"returned a model with other {word}s on '{path or 'the model'}'", fix=_SAME)
        if more := [path for path in theirs if path not in {known for _, known in self.places}]:
            raise CaseError(f"returned a model with another module '{more[0]}'", fix=_SAME)
        tensors: dict[str, Tensor] = {}
        tensors.update(edited.named_parameters(remove_duplicate=False))
        tensors.update(edited.named_buffers(remove_duplicate=False))
        values = {}
        for name, homes in self._homes.items():
            found = [tensors.get(full) for *_, full in homes]
            if found[0] is None:
                raise CaseError(f"returned a model without the tensor '{name}'", fix=_SAME)
            if len({id(tensor) for tensor in found}) > 1:
                raise CaseError(f"untied the weights {' and '.join(full for *_, full in homes)}", fix=_SAME)
            values[name] = found[0].data
        return values

    def restore(self) -> None:
        """Put every entry back, in its order. Values of tensors are `Pristine`'s business."""
        for (module, _), tables, values, kind in zip(
            self.places, self._tables, self._plain, self._classes, strict=True
        ):
            if type(module) is not kind:
                module.__class__ = kind
            for name, before in tables.items():
                _refill(vars(module)[name], before)
            now = vars(module)
            for key in [key for key in _plain(module) if key not in values]:
                del now[key]
            now.update(values)
            now["training"] = False
        for kind, key in list(self._changed_classes()):
            if (old := self._class_tables[kind].get(key, ABSENT)) is ABSENT:
                delattr(kind, key)
            else:
                setattr(kind, key, old)
        for name, before in self._global.items():
            _refill(getattr(nn.modules.module, name, {}), before)
        for name, before in self._configs.items():
            _refill(vars(getattr(self._model, name)), before)
        for tensor in self.tensors.values():
            if getattr(tensor, "_backward_hooks", None):
                tensor._backward_hooks = None

    def _changed_configs(self) -> list[str]:
        changed = []
        for name, before in self._configs.items():
            now = vars(getattr(self._model, name))
            changed += [
                f"{name}.{key}"
                for key in dict.fromkeys([*before, *now])
                if not _is_same(before.get(key, ABSENT), now.get(key, ABSENT))
            ]
        return changed

    def _changed_classes(self) -> Iterator[tuple[type, str]]:
        """Classes of modules, torch's own included, with the name of a method that is another one than before."""
        for kind, before in self._class_tables.items():
            now = vars(kind)
            for key in dict.fromkeys([*before, *now]):
                old, new = before.get(key, ABSENT), now.get(key, ABSENT)
                if old is not new and any(callable(each) for each in (old, new) if each is not ABSENT):
                    yield kind, key

    def _check_elsewhere(self) -> None:
        for kind, key in self._changed_classes():
            raise CaseError(
                f"changed '{key}' of the class {kind.__name__}, which all models share; it has been put back",
                fix="change the module itself: module.forward = ..., with @in_place_editor(keeps='attachments')",
            )
        for name, word in _GLOBAL.items():
            if len(getattr(nn.modules.module, name, {})) > len(self._global[name]):
                raise CaseError(f"left a {word} on every module; it has been taken away", fix=_REMOVE)
        for name, tensor in self.tensors.items():
            if getattr(tensor, "_backward_hooks", None):
                raise CaseError(f"left a gradient hook on '{name}'; it has been taken away", fix=_REMOVE)


_REMOVE = "remove it before the function returns"
_SAME = "return the model that was passed, or a deep copy of it with other weights"


def first_of(words: Sequence[str]) -> str:
    """The first, and how many more."""
    return words[0] + (f" and {len(words) - 1} more" if len(words) > 1 else "")


def _plain(module: nn.Module) -> dict[str, Any]:
    """Attributes that are no table; parameters and modules are in tables."""
    return {key: value for key, value in vars(module).items() if key not in TABLES and key not in _QUIET}


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    simple = (bool, int, float, str, type(None), torch.dtype, torch.device, tuple, list)
    return type(one) is type(other) and isinstance(one, simple) and bool(one == other)


def _refill(entries: dict[Any, Any], before: dict[Any, Any]) -> None:
    if list(entries) != list(before) or any(entries[key] is not value for key, value in before.items()):
        entries.clear()
        entries.update(before)
