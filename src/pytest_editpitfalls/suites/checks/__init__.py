"""The checks of `editpitfalls suites check`: one module for each, found by being here."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from pytest_editpitfalls.suites.checking import Check, Finding, Material


@cache
def checks() -> tuple[Check, ...]:
    """Return the checks in their order."""
    modules = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    found: list[Check] = [importlib.import_module(f".{name}", __package__).CHECK for name in modules]
    return tuple(sorted(found, key=lambda check: (check.order, check.name)))


def run_checks(material: Material) -> dict[str, list[Finding]]:
    """Return what each check finds, by its name."""
    return {check.name: list(check.run(material)) for check in checks()}
