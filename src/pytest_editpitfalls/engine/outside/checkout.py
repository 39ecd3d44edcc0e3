"""A checkout's modules: imported from its directory, and kept apart from those of another checkout. Torch-free."""

from __future__ import annotations

import importlib.machinery
import os
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .state import ModuleState

_KEPT = frozenset({"TEMPLATES", "COV", "INV"})
"""Words in names of caches that are the same for every edit of one model: all its calls start from one seed."""


class Checkout:
    """One directory with somebody's code.

    Research code is run from its own directory: it imports ``util`` and opens ``globals.yml`` and ``data/stats``. While
    it is `entered` the working directory and the search path are its own, and so are the modules under its names;
    ``rome`` of kmeng01/rome is another one than ``rome`` of kmeng01/memit.

    Args:
        bare: packages whose ``__init__`` is run only when a name is taken from them.
    """

    def __init__(self, directory: Path, bare: tuple[str, ...] = ()) -> None:
        self.directory = directory.resolve()
        self._bare = bare
        self._modules: dict[str, types.ModuleType] = {}
        self._clean: dict[str, types.ModuleType] = {}
        self._not_run: dict[str, Any] = {}
        self._state: ModuleState | None = None
        self._user: object = None
        self._tops: set[str] | None = None
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
                for name in self._modules:
                    del sys.modules[name]
                sys.modules.update(others)

    def imported(self) -> None:
        """What its modules hold now is what every edit starts from."""
        self._state = ModuleState(self._modules, lambda name: name.partition(".")[0] in self.names())
        self._clean = dict(self._modules)
        self._not_run = {
            name: vars(self._clean[name])["__getattr__"]
            for name in self._bare
            if name in self._clean and "__getattr__" in vars(self._clean[name])
        }

    def forget_edits(self, user: object = None) -> None:
        """Let every module hold what it held after the import: what one edit left is not the next one's.

        Modules that an edit was the first to import are dropped. Caches are kept for one user.

        Args:
            user: whose next edit it is: something else for every model and seed.
        """
        is_same, self._user = user is self._user, user
        self._modules = dict(self._clean)
        if self._state is not None:
            self._state.restore(_is_cache if is_same else lambda name: False)
        for name, taken_from in self._not_run.items():  # what running such a package made is gone: it is run again
            self._clean[name].__getattr__ = taken_from  # type: ignore[method-assign]

    def names(self) -> set[str]:
        """Names of the packages and modules that the directory has; they are looked for once."""
        if self._tops is None:
            code = [each for each in self.directory.iterdir() if _is_code(each)]
            self._tops = {each.stem if each.suffix == ".py" else each.name for each in code}
        return self._tops

    def loaded_files(self) -> set[Path]:
        """Source files of the modules that were imported before any edit."""
        files = {Path(file) for module in self._clean.values() if (file := getattr(module, "__file__", None))}
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
            module.__getattr__ = partial(self._taken_from, module, folder)  # type: ignore[method-assign]
            made[name] = module
            parent, _, last = name.rpartition(".")
            if parent in made:
                setattr(made[parent], last, module)
        return made

    def _taken_from(self, module: types.ModuleType, folder: Path, name: str) -> Any:
        """What a bare package has under ``name``: it is run now, unless that is a module in it.

        ``from package import *`` asks for ``__all__``. Who merely looks at the module (`ModuleState`) is not inside.
        """
        is_module = (folder / name).is_dir() or (folder / f"{name}.py").is_file()
        is_taken = self._depth and (name == "__all__" or not name.startswith("__"))
        if is_taken and not is_module and "__getattr__" in vars(module):
            taken_from = vars(module)["__getattr__"]
            del module.__getattr__
            file = folder / "__init__.py"
            try:
                if file.is_file():
                    importlib.machinery.SourceFileLoader(module.__name__, str(file)).exec_module(module)
            except BaseException:  # the next one who asks is to hear why, too
                module.__getattr__ = taken_from  # type: ignore[method-assign]
                raise
            if name in vars(module):
                return vars(module)[name]
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")


def _is_code(path: Path) -> bool:
    """Whether it can be imported. A folder of data may be large: code lies at its top, or in packages there."""
    if path.is_dir():
        return path.name.isidentifier() and any(
            True for form in ("*.py", "*/*.py", "*/*/*.py") for _ in path.glob(form)
        )
    return path.suffix == ".py" and path.stem.isidentifier()


def _is_cache(name: str) -> bool:
    return not _KEPT.isdisjoint(name.upper().split("_"))
