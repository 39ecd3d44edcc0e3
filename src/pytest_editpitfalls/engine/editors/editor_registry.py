"""Name to editor: what ``--editor`` knows. Lazy, so that the names can be listed without importing anything.

Besides the editors that ship there are those of other packages (entry points of the group `ENTRY_POINTS`) and those
that a run brings with it (`EditorRegistry.add`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pytest_editpitfalls.engine.edited_checkpoint.declare import checkpoint_declaration
from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.registry import Registry, imported, origin_of

from .shipped import package_of, shipped_editors, shipped_names

ENTRY_POINTS = "pytest_editpitfalls.editors"
"""Group of entry points: name -> function, class or declaration."""

SHIPS = "pytest-editpitfalls"
"""Origin of the editors that ship."""

CHECKPOINT = "an edited checkpoint"
"""Origin of what stands in the place of an editor in an audit."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class _Found:
    """An editor that is not loaded yet, or not made a declaration yet."""

    origin: str
    entry: EntryPoint | None = None
    value: Any = None

    def load(self) -> Any:
        """The function, class or declaration itself."""
        if self.entry is None:
            return self.value
        path = f"{self.entry.module}:{self.entry.attr}" if self.entry.attr else self.entry.module
        return imported(path, where=self.origin)


class EditorRegistry(Registry[EditorDeclaration]):
    """Shipped editors, those of installed packages, and those added by a run."""

    def __init__(self) -> None:
        self._shipped = shipped_names()
        super().__init__("editor", {name: f"{package_of(name)}:DECLARATION" for name in self._shipped})
        self._found: dict[str, _Found] | None = None
        self._checkpoints: set[str] = set()

    def add(self, name: str, value: Any, *, origin: str) -> None:
        """Add a user's editor: a function, a batched editor's class or an `EditorDeclaration`.

        Args:
            name: what ``--editor`` calls it.
            origin: where it is from, for messages and lists.

        Raises:
            UsageError: the name cannot stand in node ids, or is another editor's.
        """
        self._put(self._others(), name, _Found(origin, value=value), "rename one of the two")
        self._entries.pop(name, None)  # the same origin, read again

    def add_checkpoint(self, label: str, checkpoint: str) -> None:
        """Let a finished edited checkpoint stand in the place of an editor; lists do not have it."""
        self._checkpoints.add(label)
        self._entries[label] = checkpoint_declaration(label, checkpoint)

    def forget_added(self) -> None:
        """Forget what `add` and `add_checkpoint` added: a new run in this process brings its own."""
        for label in self._checkpoints:
            self._entries.pop(label, None)
        self._checkpoints.clear()
        for name in [name for name, found in self._others().items() if found.entry is None]:
            del self._others()[name]
            self._entries.pop(name, None)

    def origin(self, name: str) -> str:
        """Where an editor is from: `SHIPS`, `CHECKPOINT`, a package, a hook or an option."""
        if name in self._checkpoints:
            return CHECKPOINT
        found = self._others().get(name)
        return SHIPS if found is None else found.origin

    def is_ours(self, name: str) -> bool:
        """Whether nobody else's code edits: an editor that ships, or none at all."""
        return self.origin(name) in (SHIPS, CHECKPOINT)

    def own_object(self, name: str) -> Any | None:
        """The user's function, class or declaration under ``name``; None for an editor that ships."""
        found = self._others().get(name)
        return None if found is None else found.load()

    def __contains__(self, name: object) -> bool:
        return name in self._shipped or name in self._checkpoints or name in self._others()

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*(each.name for each in shipped_editors()), *self._others()]))

    def get(self, name: str, *, where: str | None = None) -> EditorDeclaration:
        """The declaration of ``name``; that of another package is imported now.

        Raises:
            UsageError: unknown, cannot be imported, or is no editor.
        """
        if name not in self._entries and (found := self._others().get(name)) is not None:
            from pytest_editpitfalls.engine.in_place.declare import declaration_of

            self._entries[name] = declaration_of(name, found.load(), where=found.origin)
        elif name not in self._entries:
            raise UsageError(f"unknown editor '{name}'", where=where, fix=did_you_mean(name, self))
        return super().get(name, where=where)

    def _others(self) -> dict[str, _Found]:
        if self._found is None:
            self._found = {}
            for entry in entry_points(group=ENTRY_POINTS):
                fix = "uninstall one of the packages or rename its entry point"
                self._put(self._found, entry.name, _Found(origin_of(entry), entry), fix)
        return self._found

    def _put(self, others: dict[str, _Found], name: str, found: _Found, fix: str) -> None:
        origin = found.origin
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot be the name of an editor",
                where=origin,
                fix="use letters, digits, '_', '-' and '.' (it stands in node ids)",
            )
        if name in self._shipped:
            path = origin.removeprefix("--editor=").rpartition("=")[2] if origin.startswith("--editor=") else None
            fix = "give yours another name" if path is None else f"give yours another name: --editor=my-{name}={path}"
            raise UsageError(f"'{name}' is the name of an editor that ships", where=origin, fix=fix)
        known = others.get(name)
        if known is not None and known.origin != origin:
            raise UsageError(f"editor '{name}' is there twice: from {known.origin} too", where=origin, fix=fix)
        others[name] = found


EDITORS: EditorRegistry = EditorRegistry()
"""The editors that can be asked for."""
