"""A checkout's modules: imported from its directory, and kept apart from those of another checkout. Torch-free."""

from __future__ import annotations

import copy
import importlib.machinery
import os
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_KEPT = ("TEMPLATES", "COV", "INV")
"""Parts of module-level names that are caches, the same for every edit: all calls start from one seed."""


class Checkout:
    """One directory with somebody's code.

    Research code is run from its own directory: it imports ``util`` and opens ``globals.yml`` and ``data/stats``. While
    it is `entered` the working directory and the search path are its own, and so are the modules under its names;
    ``rome`` of kmeng01/rome is another one than ``rome`` of kmeng01/memit.

    Args:
        bare: packages whose ``__init__`` is not run.
    """

    def __init__(self, directory: Path, bare: tuple[str, ...] = ()) -> None:
        self.directory = directory.resolve()
        self._bare = bare
        self._modules: dict[str, types.ModuleType] = {}
        self._after_import: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()
        self._depth = 0

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Its code can be imported and called."""
        with self._lock:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            before, path, others = os.getcwd(), list(sys.path), self._theirs()
            for name in others:
                del sys.modules[name]
            sys.modules.update(self._modules or self._bare_packages())
            sys.path.insert(0, str(self.directory))
            os.chdir(self.directory)
            self._depth = 1
            try:
                yield
            finally:
                self._depth = 0
                os.chdir(before)
                sys.path[:] = path
                self._modules = self._theirs()
                for name, module in self._modules.items():
                    del sys.modules[name]
                    if name not in self._after_import:
                        self._after_import[name] = _data_of(module)
                sys.modules.update(others)

    def forget_edits(self) -> None:
        """Put the modules' data back to what they were after the import: what one edit left is not the next one's."""
        for name, module in self._modules.items():
            before = self._after_import.get(name, {})
            now = _data_of(module)
            for key, value in now.items():
                if key in before and value is not before[key] and not any(word in key.upper() for word in _KEPT):
                    setattr(module, key, copy.deepcopy(before[key]))

    def names(self) -> set[str]:
        """Names of the packages and modules that the directory has."""
        return {each.stem if each.suffix == ".py" else each.name for each in self.directory.iterdir() if _is_code(each)}

    def loaded_files(self) -> set[Path]:
        """Source files of the modules that were imported so far."""
        files = {Path(file) for module in self._modules.values() if (file := getattr(module, "__file__", None))}
        return {file for file in files if file.suffix == ".py"}

    def _theirs(self) -> dict[str, types.ModuleType]:
        """Loaded modules under the names that the directory has."""
        tops = self.names()
        return {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in tops}

    def _bare_packages(self) -> dict[str, types.ModuleType]:
        made = {}
        for name in self._bare:
            folder = self.directory.joinpath(*name.split("."))
            module = types.ModuleType(name)
            module.__path__ = [str(folder)]
            module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
            module.__spec__.submodule_search_locations = [str(folder)]
            made[name] = module
            parent, _, last = name.rpartition(".")
            if parent in made:
                setattr(made[parent], last, module)
        return made


def _is_code(path: Path) -> bool:
    if path.is_dir():
        return path.name.isidentifier() and next(path.glob("**/*.py"), None) is not None
    return path.suffix == ".py" and path.stem.isidentifier()


def _data_of(module: types.ModuleType) -> dict[str, Any]:
    """Names of a module that hold no code."""
    code = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)
    return {
        key: value for key, value in vars(module).items() if not key.startswith("__") and not isinstance(value, code)
    }
