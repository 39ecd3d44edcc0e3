"""A table of algorithms in somebody's module, read without running the module. Torch-free.

Such a module imports everything that the collection has, with all that it needs; of one algorithm only its own imports
are wanted. Older releases of Python run this as well (`bridge`).
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from typing import Any

from pytest_editpitfalls.errors import UsageError

_TABLE = "ALG_DICT"
_HYPERPARAMETERS = re.compile(r"h(yper)?params?", re.IGNORECASE)


class AlgorithmTable:
    """``ALG_DICT`` of a module: name -> a function, or its class of hyper-parameters and a function.

    Args:
        text: the module's source.
        where: its path, for messages.
        package: the package that it is in.

    Raises:
        UsageError: the file has no such table.
    """

    def __init__(self, text: bytes, where: str, package: str) -> None:
        self._package = package
        self._where = where
        try:
            module = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise UsageError(f"this is not Python: {error}", where=where, fix="check the checkout") from None
        self._imports = {
            alias.asname or alias.name: (node, alias.name)
            for node in module.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self._entries: dict[str, ast.expr] = {}
        for node in module.body:
            if not (isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)):
                continue
            if [getattr(each, "id", None) for each in node.targets] == [_TABLE]:
                pairs = zip(node.value.keys, node.value.values)  # noqa: B905 - Python 3.9 has no strict
                self._entries |= {
                    key.value: value
                    for key, value in pairs
                    if isinstance(key, ast.Constant) and isinstance(key.value, str)
                }
        if not self._entries:
            raise UsageError(f"it has no table {_TABLE}", where=where, fix="name a checkout that has one")

    def __contains__(self, algorithm: object) -> bool:
        return algorithm in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def load(self, algorithm: str) -> tuple[Callable[..., Any], type[Any] | None]:
        """The function, and its class of hyper-parameters: the one beside it in the table, or in the same import.

        Raises:
            UsageError: the table's entry is no imported function.
        """
        entry = self._entries[algorithm]
        used = [node.id for node in ast.walk(entry) if isinstance(node, ast.Name)]
        found = self._value(entry)
        if isinstance(found, tuple):
            classes = [each for each in found if isinstance(each, type)]
            (function,) = [each for each in found if callable(each) and not isinstance(each, type)]
            return function, classes[0] if classes else None
        beside = [
            alias.asname or alias.name
            for name in used
            if name in self._imports
            for alias in self._imports[name][0].names
            if _HYPERPARAMETERS.search(alias.name)
        ]
        return found, self._imported(beside[0]) if beside else None

    def _value(self, entry: ast.expr) -> Any:
        """What an imported name, ``Name()``, an attribute or a tuple of these stands for; nothing else is evaluated."""
        if isinstance(entry, ast.Name) and entry.id in self._imports:
            return self._imported(entry.id)
        if isinstance(entry, ast.Attribute):
            return getattr(self._value(entry.value), entry.attr)
        if isinstance(entry, ast.Call) and not entry.args and not entry.keywords:
            return self._value(entry.func)()
        if isinstance(entry, (ast.Tuple, ast.List)):
            return tuple(self._value(each) for each in entry.elts)
        raise UsageError(
            f"'{ast.unparse(entry)}' is made of more than imported names",
            where=f"{self._where}:{entry.lineno}, {_TABLE}",
            fix="name an algorithm whose entry is a function that the module imports, or give module:attribute",
        )

    def _imported(self, name: str) -> Any:
        node, original = self._imports[name]
        module = node.module or ""
        if node.level:
            module = importlib.util.resolve_name("." * node.level + module, self._package)
        return getattr(importlib.import_module(module), original)
