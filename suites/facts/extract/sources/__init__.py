"""The sources: each module here has a `SOURCE`, and is found by that."""

from __future__ import annotations

import importlib
import pkgutil

from suites.facts.extract.model import Source


def all_sources() -> list[Source]:
    """Return the sources by name."""
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return sorted((module.SOURCE for module in modules), key=lambda source: source.name)
