"""What modules hold after their import, and how it is put back. Torch-free."""

from __future__ import annotations

import copy
import enum
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_CONTAINERS = (list, dict, set, bytearray, deque)
_CODE = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type, property, classmethod, staticmethod)
_ABSENT = object()


@dataclass(frozen=True)
class _Copied:
    """An object, and a copy of it as it was; of a container that cannot be copied whole its own entries alone."""

    live: Any
    held: Any
    whole: bool = True


class ModuleState:
    """Names of modules and of their classes, and what is in the containers, tensors and objects among them.

    What is changed in place is put back in place, since other modules may hold the same list. Unknown to it is what
    functions keep in closures, default values and ``functools`` caches.

    Args:
        modules: by name.
        is_theirs: whether a module of that name is one of theirs: of an object of its classes the attributes are kept.
    """

    def __init__(self, modules: Mapping[str, types.ModuleType], is_theirs: Callable[[str], bool]) -> None:
        self._is_theirs = is_theirs
        self._names: list[tuple[Any, dict[str, Any]]] = []
        self._copies: dict[int, _Copied] = {}
        self._memo: dict[int, Any] = {}
        for owner in _owners(modules.values()):
            names = _names_of(owner)
            self._names.append((owner, names))
            for value in names.values():
                self._remember(value)

    def restore(self, is_kept: Callable[[str], bool]) -> None:
        """Put all back; what has a name that is kept (a cache) is left as it is."""
        kept = {
            id(value)
            for owner, names in self._names
            for name, value in (*names.items(), *_names_of(owner).items())
            if is_kept(name)
        }
        copies = {key: each for key, each in self._copies.items() if key not in kept}
        memo = {id(each.held): each.live for each in self._copies.values() if not _is_array(each.live)}
        arrays = {key: copy.deepcopy(each.held, memo) for key, each in copies.items() if _is_array(each.live)}
        for each in copies.values():
            if not _is_array(each.live):
                _refill(_contents(each.live), _contents(each.held), memo if each.whole else None)
        for owner, names in self._names:
            now = _names_of(owner)
            for name in {**now, **names}:
                if not is_kept(name):
                    before = names.get(name, _ABSENT)
                    _put(owner, name, arrays.get(id(before), before), now.get(name, _ABSENT))

    def _remember(self, value: Any) -> None:
        if id(value) in self._copies or not self._is_copied(value):
            return
        before = {*self._memo, id(self._memo)}  # under its own id it keeps alive what was copied
        try:
            held = copy.deepcopy(value, self._memo)
        except Exception:  # a lock, a module, an open file is in it
            for key in self._memo.keys() - before:  # copies of parts, perhaps half done
                del self._memo[key]
            if isinstance(value, _CONTAINERS):
                self._copies[id(value)] = _Copied(value, copy.copy(value), whole=False)
            return
        if held is not value and (_is_array(value) or _contents(held) is not None):
            self._copies[id(value)] = _Copied(value, held)

    def _is_copied(self, value: Any) -> bool:
        if isinstance(value, _CONTAINERS) or _is_array(value):
            return True
        return self._is_theirs(type(value).__module__) and not isinstance(value, _CODE) and hasattr(value, "__dict__")


def _owners(modules: Iterable[types.ModuleType]) -> Iterator[Any]:
    """The modules, and the classes that are defined in them."""
    for module in modules:
        yield module
        for value in list(vars(module).values()):
            if isinstance(value, type) and value.__module__ == module.__name__ and not issubclass(value, enum.Enum):
                yield value


def _names_of(owner: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if not name.startswith("__")}


def _is_array(value: Any) -> bool:
    """Whether it is a tensor or an array, of whatever library."""
    return (
        not isinstance(value, type | types.ModuleType)
        and hasattr(value, "ndim")
        and hasattr(type(value), "__deepcopy__")
    )


def _contents(value: Any) -> Any:
    """What can be changed in place: the container itself, or an object's attributes."""
    return value if isinstance(value, _CONTAINERS) else getattr(value, "__dict__", None)


def _refill(live: Any, held: Any, memo: dict[int, Any] | None) -> None:
    """Put the entries of ``held`` in the place of those of ``live``: copies of them, but for ``memo`` None."""
    entries = list(held.items()) if isinstance(held, dict) else list(held)
    if memo is not None:
        entries = [copy.deepcopy(entry, memo) for entry in entries]
    live.clear()
    if isinstance(held, dict | set):
        live.update(entries)
    else:
        live.extend(entries)


def _put(owner: Any, name: str, value: Any, now: Any) -> None:
    if value is now:
        return
    try:
        if value is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, value)
    except (AttributeError, TypeError):  # a class that refuses this: it has refused the edit, too
        return
