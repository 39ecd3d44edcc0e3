"""Which collections there are, and how one of their editors becomes an in-place editor. Torch-free."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from pytest_editpitfalls.engine.in_place.declare import in_place_editor
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import MAX_SMALL_FILE_BYTES, read_bounded

from . import collections
from .checkout import Checkout
from .declaration import Collection
from .table import AlgorithmTable

OPTION = "--pitfalls-checkout"

_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "hydra": "hydra-core",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "cv2": "opencv-python",
}
"""What to install for modules that are called otherwise: pip finds another package under their name."""

IN_EXTRA = frozenset({"datasets", "matplotlib"})
"""Packages of the extra ``easyedit``: what most editors of the collections import."""

_CHECKOUT = "__editpitfalls_checkout__"


@cache
def collections_by_name() -> dict[str, Collection]:
    """Every collection, by what ``--editor`` calls it."""
    names = [found.name for found in pkgutil.iter_modules(collections.__path__)]
    found: list[Collection] = [
        importlib.import_module(f"{collections.__name__}.{name}").COLLECTION for name in sorted(names)
    ]
    return {each.name: each for each in found}


def collection_of(path: str) -> Collection | None:
    """The collection that ``easyedit:ROME`` means; None for a module's path."""
    name, _, algorithm = path.partition(":")
    return collections_by_name().get(name) if algorithm[:1].isupper() else None


@dataclass(frozen=True)
class InCheckout:
    """An editor of a collection, found and not imported."""

    collection: Collection
    algorithm: str
    directory: Path
    table: AlgorithmTable

    def described(self, **more: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """`in_place_editor` with what the collection says of it, and ``more``."""
        title = f"{self.algorithm} ({self.collection.title})"
        return in_place_editor(
            **{
                "prompts": self.collection.prompts,
                "targets": self.collection.targets,
                "title": title,
                "source": f"{self.collection.title} {self.collection.table}: {self.algorithm}",
                "draws": "as its own code does, the same for every case",
                "same_draws": True,
                "folder": self.directory,
                **more,
            }
        )


def in_checkout(path: str, checkouts: Mapping[str, Path], *, where: str) -> InCheckout:
    """Find what ``easyedit:ROME`` means; nothing of it is imported.

    Raises:
        UsageError: there is no checkout, or no such algorithm in its table.
    """
    collection = collection_of(path)
    assert collection is not None
    algorithm = path.partition(":")[2]
    directory = _directory(collection, checkouts, where)
    file = directory / collection.table
    table = AlgorithmTable(read_bounded(file, MAX_SMALL_FILE_BYTES), str(file), collection.package)
    if algorithm not in table:
        raise UsageError(f"{collection.title} has no '{algorithm}'", where=where, fix=did_you_mean(algorithm, table))
    return InCheckout(collection, algorithm, directory, table)


def with_signature(function: Callable[..., Any], kind: type[Any] | None) -> None:
    """Let a function that takes anything say what it takes: with ``kind`` for hyper-parameters, None for none."""
    parameters = [
        inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("model", "tokenizer", "requests")
    ]
    if kind is not None:
        parameters.append(inspect.Parameter("hparams", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kind))
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]


def outside_editor(path: str, checkouts: Mapping[str, Path], *, where: str) -> Callable[..., Any]:
    """The in-place editor that ``easyedit:ROME`` means.

    Where no checkout was named and none has it, it may be an object in a module of that name.

    Args:
        checkouts: name of a collection -> directory, as the user has named it.
        where: the option that named the editor.

    Raises:
        UsageError: there is no checkout, no such algorithm, or what it imports is not installed.
    """
    try:
        found = in_checkout(path, checkouts, where=where)
    except UsageError:
        collection = collection_of(path)
        if collection and collection.name not in checkouts and (own := _own_object(path)) is not None:
            return own
        raise
    collection, algorithm = found.collection, found.algorithm
    checkout = Checkout(found.directory, collection.bare)
    try:
        with checkout.entered():
            function, hyperparameters = found.table.load(algorithm)
        checkout.imported()
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{collection.title} needs '{error.name}' for {algorithm}, which is not installed",
            where=where,
            fix=f"pip install {_distribution_of(error.name or '')}; {collection.needs}",
        ) from error
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{algorithm} of {collection.title} cannot be imported: {type(error).__name__}: {error}",
            where=where,
            fix=collection.needs,
        ) from error
    return _in_place(found, checkout, function, hyperparameters)


def _distribution_of(module: str) -> str:
    top = module.partition(".")[0]
    return '"pytest-editpitfalls[easyedit]"' if top in IN_EXTRA else _DISTRIBUTIONS.get(top, top)


def checkout_of(editor: Any) -> Checkout | None:
    """The checkout that an editor of `outside_editor` is from; None for any other one."""
    return getattr(editor, _CHECKOUT, None)


def _directory(collection: Collection, checkouts: Mapping[str, Path], where: str) -> Path:
    if (named := checkouts.get(collection.name)) is not None:
        if (mistake := collection.mistake(named)) is not None:
            raise UsageError(
                f"{named} is no checkout of {collection.title}: {mistake}",
                where=f"{OPTION} {collection.name}",
                fix=f"name the directory of a checkout of {collection.title}",
            )
        return named
    found = next((Path(each) for each in sys.path if each and collection.mistake(Path(each)) is None), None)
    if found is None:
        raise UsageError(
            f"no checkout of {collection.title} is on sys.path",
            where=where,
            fix=f"git clone https://github.com/{collection.title}, and {OPTION} {collection.name}=DIR; "
            f"if a module '{collection.name}' of your own is meant, check the name behind the colon",
        )
    return found


def _own_object(path: str) -> Callable[..., Any] | None:
    """What can be called at ``path`` where a module has a collection's name by chance; None where nothing does."""
    module, _, names = path.partition(":")
    try:
        found: Any = attrgetter(names)(importlib.import_module(module))
    except Exception:  # then it was not meant
        return None
    return found if callable(found) else None


def _in_place(
    found: InCheckout, checkout: Checkout, function: Callable[..., Any], kind: type[Any] | None
) -> Callable[..., Any]:
    collection, algorithm = found.collection, found.algorithm

    def edit(model: Any, tokenizer: Any, requests: list[dict[str, Any]], **given: Any) -> Any:
        from pytest_editpitfalls.engine.families import family_for

        from .calling import called

        left, one = collection.left_padding(algorithm), algorithm in collection.one_request
        blocks = family_for(model.config).blocks if collection.of_2022 else None
        with checkout.entered():
            return called(function, model, tokenizer, requests, given, left_padding=left, one_by_one=one, blocks=blocks)

    with_signature(edit, kind)
    edit.__wrapped__ = function  # type: ignore[attr-defined]
    setattr(edit, _CHECKOUT, checkout)
    edit.__name__ = edit.__qualname__ = algorithm
    keeps = "attachments" if algorithm in collection.attachments else "nothing"
    return found.described(keeps=keeps, reset_for=checkout.forget_edits, folder=checkout.directory)(edit)
