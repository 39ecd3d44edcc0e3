"""What in a list of edits clashes: with itself, with what it leaves, with what follows. No model is asked."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from pytest_editpitfalls.edit_lists.planned import EditList
from pytest_editpitfalls.edit_lists.world import SEVERITIES, Severity, World
from pytest_editpitfalls.knowledge import Knowledge

from . import kinds
from .asking import HELD, Ask, held_findings
from .finding import Check, Finding


@cache
def checks() -> dict[str, Check]:
    """Return every kind of finding by its name."""
    names = sorted(module.name for module in pkgutil.iter_modules(kinds.__path__) if not module.name.startswith("_"))
    found = (importlib.import_module(f"{kinds.__name__}.{name}").CHECK for name in names)
    return {check.name: check for check in found}


@dataclass(frozen=True, slots=True)
class Model:
    """A model that is asked what it holds.

    Attributes:
        name: what it is called.
        ask: puts questions to it.
    """

    name: str
    ask: Ask


@dataclass(frozen=True, slots=True)
class LintReport:
    """What was found in a list.

    Attributes:
        edits: the list.
        findings: (kind, finding): conflicts first, then warnings and notes; each in file order.
        unknown_subjects: how many edits of a known relation are of a subject that no fact of that relation is known of.
    """

    edits: EditList
    findings: tuple[tuple[str, Finding], ...]
    unknown_subjects: int

    def count(self, severity: Severity) -> int:
        return sum(finding.severity == severity for _, finding in self.findings)


def lint(edits: EditList, knowledge: Knowledge, ignore: Collection[str] = (), model: Model | None = None) -> LintReport:
    """Look for what clashes.

    Args:
        edits: the list.
        knowledge: what is true, and what follows from what.
        ignore: kinds of findings to leave out.
        model: is asked which of the facts that the edits undo it holds.
    """
    world = World(edits, knowledge)
    found = [(each.name, one) for each in checks().values() if each.name not in ignore for one in each.find(world)]
    if model is not None and HELD not in ignore:
        found += [(HELD, one) for one in held_findings(world, model.name, model.ask)]
    found.sort(key=lambda each: (SEVERITIES.index(each[1].severity), each[1].edits[-1].number))
    unknown = sum(not world.facts_of(relation.id, subject) for _, relation, subject, _ in world.known)
    return LintReport(edits, tuple(found), unknown)


__all__ = ["HELD", "SEVERITIES", "Check", "Finding", "LintReport", "Model", "Severity", "checks", "lint"]
