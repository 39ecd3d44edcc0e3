"""All properties, by name: what each says, its check, and the edits that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pytest_editpitfalls.errors import UsageError, did_you_mean

from . import checks
from .bench import EditorBench
from .drawn import Edits

Drawn = Literal["any", "unrelated", "related"]
"""Any edits; those that have no label in common; those that are easily taken for one another."""


@dataclass(frozen=True)
class Property:
    """One property of editors.

    Attributes:
        name: in node ids, and in an editor's ``violates``.
        says: in one sentence.
        check: raises `PropertyFailed` where it does not hold.
        least: edits that it takes.
        drawn: which sequences of edits it is about.
    """

    name: str
    says: str
    check: Callable[[EditorBench, Edits], None]
    least: int = 1
    drawn: Drawn = "any"


PROPERTIES: tuple[Property, ...] = (
    Property(
        "present_object",
        "an edit to the object that the model prefers already changes nothing else",
        checks.check_present_object,
    ),
    Property("idempotent", "the same edit twice is the same edit", checks.check_idempotent),
    Property("commute", "edits of unrelated subjects commute", checks.check_commute, least=2, drawn="unrelated"),
    Property("restoration", "after an edit the base model is as before", checks.check_restoration),
    Property("neighbours", "an edit does not depend on its batch", checks.check_neighbours, least=2, drawn="related"),
    Property("declared_weights", "nothing outside of the declared weights changes", checks.check_declared_weights),
    Property("deterministic", "under one seed an editor gives the same again", checks.check_deterministic),
    Property("isolated", "the state of one case never reaches another", checks.check_isolated, drawn="related"),
)


def property_of(name: str, *, where: str) -> Property:
    """Return a property by its name; raises `UsageError` with "did you mean"."""
    for each in PROPERTIES:
        if each.name == name:
            return each
    raise UsageError(f"there is no property '{name}'", where=where, fix=did_you_mean(name, names()))


def names() -> Iterator[str]:
    """Give the names of all properties."""
    return (each.name for each in PROPERTIES)
