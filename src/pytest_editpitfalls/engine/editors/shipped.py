"""The editors that ship: every folder beside this module is one. Torch-free; a declaration is imported when asked for.

The editor ``ft-l`` is the folder ``ft_l``: a package whose ``__init__.py`` has an `EditorDeclaration` called
``DECLARATION``. Nothing else names it.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.hypernetworks.hyperparameters import TrainingHyperparameters


@cache
def shipped_names() -> frozenset[str]:
    """Names of the editors that ship; reads the folder and imports none of them."""
    folder = str(Path(__file__).parent)
    return frozenset(found.name.replace("_", "-") for found in pkgutil.iter_modules([folder]) if found.ispkg)


@cache
def shipped_editors() -> tuple[EditorDeclaration, ...]:
    """The declarations of the editors that ship, in the order of lists."""
    found: list[EditorDeclaration] = [importlib.import_module(package_of(n)).DECLARATION for n in shipped_names()]
    return tuple(sorted(found, key=lambda each: (each.order, each.name)))


def package_of(name: str) -> str:
    """Name of the package that a shipped editor is in."""
    return f"{__package__}.{name.replace('-', '_')}"


def training_options_of(name: str) -> type[TrainingHyperparameters] | None:
    """What the training of a shipped editor's network takes, from ``hyperparameters.py`` of its folder.

    Torch-free. None where that module has no class for it: then it is known with the training alone, which takes torch.
    """
    from pytest_editpitfalls.engine.hypernetworks.hyperparameters import TrainingHyperparameters

    module = importlib.import_module(f"{package_of(name)}.hyperparameters")
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, TrainingHyperparameters) and each.__module__ == module.__name__
    ]
    return found[0] if len(found) == 1 else None
