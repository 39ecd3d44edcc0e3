"""Digests of source code: of our engine, and of whatever packages somebody's editor is from. Torch-free.

A stored result may be used again only where the code that would compute it is the same, byte for byte.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.hyperparameters.released import read_released
from pytest_editpitfalls.engine.outside.bridge import is_bridged
from pytest_editpitfalls.engine.outside.checkout import Checkout
from pytest_editpitfalls.engine.outside.collection import checkout_of
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import file_digest
from pytest_editpitfalls.registry import imported

from .imports import Imports, imports_of

_OWN = __name__.partition(".")[0]

_LIBRARIES = frozenset(
    {_OWN, "torch", "transformers", "pydantic", "pydantic_core", "numpy", "typing_extensions"}
).union(sys.stdlib_module_names)
"""Not looked at where an editor inherits from them: keyed by version, covered by our digest, or no part of an edit."""

_CODE = (".py", ".pyc", ".so", ".pyd")

_SETTINGS = (".yml", ".yaml", ".json", ".toml", ".cfg", ".ini")
"""Files in a checkout's own directory that its code may read ("globals.yml")."""

_STATISTICS = "data/stats"
"""Where the collections' code keeps second moments, unless its hyper-parameters say another folder."""

VALUES = ("matching.py", "probes.py", "program.py")
"""Modules outside of engine/ that decide what it computes: the programs that it runs, and what counts as said."""

Origin = tuple[str | None, str | None]
"""Name and file of the module that a piece of code is from; None for what is not known."""


def files_digest(named: Mapping[str, Path]) -> str:
    """SHA-256 over names and contents of several files, in the order of their names."""
    return _digest([[name, file_digest(path)] for name, path in sorted(named.items())])


@functools.cache
def engine_source_digest() -> str:
    """Digest of what computes the numbers: every file of engine/, and the modules of `VALUES`.

    What compiles a case is not in it: the program itself is in the key of each case.

    Raises:
        UsageError: the package's own files cannot be read.
    """
    package = Path(__file__).parents[1]
    files = dict(_files(package / "engine", lambda name: not name.endswith(".pyc")))
    files |= {name: package / name for name in VALUES}
    try:
        return files_digest(files)
    except OSError as error:
        raise UsageError(
            f"the plugin's own files cannot be read: {error}",
            where=str(package),
            fix="install pytest-editpitfalls as ordinary files",
        ) from None


def editor_source_digest(name: str) -> str | None:
    """Digest of the source code of the editor ``name``; None where some of it cannot be read.

    For an editor that ships it is `engine_source_digest`; for another one it covers every package that the object,
    what it wraps, its base classes and its hyper-parameters are from, and all that these import (`imports`). For one
    in a checkout it covers all code there, and what the modules that were loaded import from elsewhere.

    Raises:
        UsageError: unknown, or it cannot be imported.
    """
    own = EDITORS.own_object(name)
    if own is None:
        EDITORS.get(name)
        return engine_source_digest()
    if is_bridged(own):
        return None  # another interpreter has it
    if (checkout := checkout_of(own)) is not None:
        return _checkout_digest(checkout)
    seen: set[int] = set()
    origins = {*_origins(own, seen), *_origins(EDITORS.get(name).hyperparameter_class(), seen)}
    digests: set[str] = set()
    waiting = []
    for module, file in origins:
        top = (module or "").partition(".")[0]
        if top == _OWN:
            digests.add(engine_source_digest())
        elif top not in _LIBRARIES or _is_conftest(file):
            waiting.append((module, file))
    own_packages = {(module or "").partition(".")[0] for module, _ in waiting}
    return _digest_with_imports(digests, waiting, own_packages)


def _checkout_digest(checkout: Checkout) -> str | None:
    """Digest of a checkout's code and settings, and of what is imported from elsewhere.

    Which of its modules an editor imports when it is called is not known before: all of them count. What is loaded in
    a way that cannot be read off is looked for in the modules that this editor has loaded alone.
    """
    try:
        files = dict(_files(checkout.directory, lambda name: name.endswith(_CODE)))
        files |= {path.name: path for path in checkout.directory.iterdir() if path.suffix in _SETTINGS}
        digests = {engine_source_digest(), files_digest(files)}
        imports = imports_of(sorted(checkout.loaded_files()))
    except (OSError, ImportError, ValueError):
        return None
    for names in (imports.packages, imports.unknown, imports.absent):
        names -= checkout.names()
    if not _take(imports, digests, is_own=True):
        return None
    return _digest_with_imports(digests, [(name, None) for name in sorted(imports.packages)], set())


def statistics_digest(checkout: Checkout, hparams: Any) -> str | None:
    """Digest of what the folder of second moments lists: names, sizes and times of change; None where it is not known.

    The files are large, and their code writes them itself where there are none: their content is not read.

    Args:
        hparams: a file of hyper-parameters or a table of them; ``stats_dir`` in it names the folder.
    """
    try:
        table = read_released(Path(hparams)).values if isinstance(hparams, str | Path) else hparams
        named = table.get("stats_dir") if isinstance(table, Mapping) else None
        found = _files(checkout.directory / str(named or _STATISTICS), lambda name: name.endswith(".npz"))
        status = [(name, path.stat()) for name, path in found]
    except FileNotFoundError:
        status = []
    except (OSError, UsageError):
        return None
    return _digest(sorted([name, each.st_size, each.st_mtime_ns] for name, each in status))


def _digest_with_imports(digests: set[str], waiting: list[Origin], own_packages: set[str]) -> str | None:
    """Digest over ``digests``, the code of ``waiting`` and all that it imports; None where that cannot be known."""
    read: set[Origin] = set()
    while waiting:
        module, file = waiting.pop()
        # one top-level package is read once, whichever of its modules the code is from
        place = ((module or "").partition(".")[0], None) if _is_package(module, file) else (module, file)
        if place in read:
            continue
        read.add(place)
        found = package_source_digest(module, file)
        imports = None if found is None else _imports(module, file)
        if found is None or imports is None:
            return None
        digests.add(found)
        if not _take(imports, digests, is_own=place[0] in own_packages):
            return None
        waiting += [(name, None) for name in imports.packages]
    return _digest(sorted(digests)) if digests else None


def _take(imports: Imports, digests: set[str], *, is_own: bool) -> bool:
    """Add what code imports to ``digests``; False where what runs is decided when it runs."""
    if imports.unreadable or (imports.unknown and (is_own or imports.moves_path)) or (imports.hidden and is_own):
        return False
    digests |= {_digest(each) for each in imports.distributions}
    digests |= {_digest(["absent", name]) for name in imports.absent | imports.unknown}
    return True


def _imports(module: str | None, file: str | None) -> Imports | None:
    """What the code that `package_source_digest` covers imports; None where it cannot be read."""
    try:
        files = _code_files(module, file)
        found = imports_of(path for path in files.values() if path.suffix == ".py")
    except (OSError, ImportError, ValueError):
        return None
    found.packages.discard((module or "").partition(".")[0])
    return found


@functools.cache
def package_source_digest(module: str | None, file: str | None = None) -> str | None:
    """Digest of all code files of the top-level package of ``module``; of the ``file`` alone where it is a single file.

    Files are ``.py`` and what is compiled (``.so``, ``.pyd``, ``.pyc`` outside of ``__pycache__``), by their path
    inside the package. A module called conftest is its file, whatever package it is in.

    Returns 64 hex digits, or None where the code cannot be read: built-in, frozen, in a zip file, ``__main__`` without
    a file, or absent.
    """
    try:
        files = _code_files(module, file)
        return files_digest(files) if files else None
    except (OSError, ImportError, ValueError):
        return None


def _code_files(module: str | None, file: str | None) -> dict[str, Path]:
    """The files that `package_source_digest` covers, by name; raises what looking for them raises."""
    folders = _package_folders(module, file)
    if folders:
        return {
            f"{number}/{name}": path
            for number, folder in enumerate(folders)
            for name, path in _files(folder, lambda name: name.endswith(_CODE))
        }
    path = Path(file) if file is not None else _single_file(module)
    return {} if path is None or path.suffix not in _CODE else {path.name: path}


def _is_package(module: str | None, file: str | None) -> bool:
    try:
        return bool(_package_folders(module, file))
    except (OSError, ImportError, ValueError):
        return False


def _package_folders(module: str | None, file: str | None) -> list[Path]:
    """Folders of the top-level package; none for a single file and a conftest.

    Raises `OSError` where the package is not in folders (a zip file).
    """
    top = (module or "").partition(".")[0]
    if not top or top == "__main__" or _is_conftest(file):
        return []
    there = sys.modules.get(top)
    if there is None:
        spec = importlib.util.find_spec(top)
        paths = list(spec.submodule_search_locations or ()) if spec is not None else []
    else:
        paths = list(getattr(there, "__path__", ()))
    folders = [Path(path) for path in dict.fromkeys(paths)]
    if file is not None and not any(Path(file).is_relative_to(folder) for folder in folders):
        return []  # another module of that name
    if not all(folder.is_dir() for folder in folders):
        raise OSError("the package is not in a folder")
    return folders


def _single_file(module: str | None) -> Path | None:
    there = sys.modules.get(module or "")
    if there is not None:
        origin = getattr(there, "__file__", None)
    else:
        spec = importlib.util.find_spec(module) if module else None
        origin = spec.origin if spec is not None and spec.has_location else None
    return Path(origin) if origin else None


def _origins(value: Any, seen: set[int]) -> Iterator[Origin]:
    """Where the code of ``value`` is from, and of everything that it wraps, calls by closure or inherits."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, EditorDeclaration):
        for part in (value.hyperparameters, value.factory):
            yield from _origins(imported(part, where=value.name) if isinstance(part, str) else part, seen)
    elif isinstance(value, functools.partial):
        for part in (value.func, *value.args, *value.keywords.values()):
            if callable(part):
                yield from _origins(part, seen)
    elif isinstance(value, types.MethodType):
        yield from _origins(value.__func__, seen)
        owner = value.__self__
        yield from _origins(owner if isinstance(owner, type) else type(owner), seen)
    elif isinstance(value, types.FunctionType):
        yield from _function_origins(value, seen)
    elif isinstance(value, type):
        for kind in value.__mro__:
            yield _class_origin(kind)
    else:  # an object that can be called, or compiled code
        wrapped = getattr(value, "__wrapped__", None)
        if callable(wrapped):
            yield from _origins(wrapped, seen)
        module = getattr(value, "__module__", None)
        yield (module if isinstance(module, str) else None, None)
        yield from _origins(type(value), seen)


def _function_origins(function: types.FunctionType, seen: set[int]) -> Iterator[Origin]:
    # What the function says of its module may be copied from what it wraps; its globals are where its code is.
    name, file = function.__globals__.get("__name__"), function.__globals__.get("__file__")
    written = not function.__code__.co_filename.startswith("<")  # else it came out of exec
    yield (name, file) if written else (None, None)
    parts = [getattr(function, "__wrapped__", None)]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            parts.append(cell.cell_contents)
    for part in parts:
        if callable(part):
            yield from _origins(part, seen)


def _class_origin(kind: type) -> Origin:
    # Several modules may be called conftest; the methods know which of them the class is from.
    for method in vars(kind).values():
        if isinstance(method, types.FunctionType) and method.__globals__.get("__name__") == kind.__module__:
            return kind.__module__, method.__globals__.get("__file__")
    return kind.__module__, getattr(sys.modules.get(kind.__module__), "__file__", None)


def _is_conftest(file: str | None) -> bool:
    return file is not None and Path(file).name == "conftest.py"


def _files(folder: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Path]]:
    """Path inside ``folder`` and path of its files, without caches and hidden ones."""
    seen: set[str] = set()
    for directory, inside, names in os.walk(folder, onerror=_raise, followlinks=True):
        inside[:] = [name for name in inside if name != "__pycache__" and not name.startswith(".")]
        if (real := os.path.realpath(directory)) in seen:  # a link to a folder above
            inside.clear()
            continue
        seen.add(real)
        for name in names:
            path = Path(directory, name)
            if wanted(name) and not name.startswith("."):
                yield path.relative_to(folder).as_posix(), path


def _raise(error: OSError) -> None:
    raise error


def _digest(parts: Iterable[Any]) -> str:
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()
