"""Values of dumps as they stand in a sentence, and the relations that a property may be."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pytest_editpitfalls.knowledge.facts import BadFact
from pytest_editpitfalls.knowledge.relations import KnownRelation, Relations


def variants(relations: Relations, name: str) -> tuple[KnownRelation, ...]:
    """Return the relation with this id or name, behind those that are the same for other subjects ("P36-state")."""
    base = relations.named(name) or relations.named(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name))
    id = base.id if base is not None else name if re.fullmatch(r"P[1-9]\d*", name) else None
    narrower = (relations[other] for other in relations if id is not None and other.rpartition("-")[0] == id)
    return (*narrower, *(() if base is None else (base,)))


def moment(text: str, relations: Sequence[KnownRelation], *, exact_to_the_day: bool) -> str:
    """Return a date ("+1776-07-04T00:00:00Z") as the year, where that is what the relation asks or all that is known.

    Raises:
        BadFact: it is a day, and the relation does not ask for a year; or no year of the common era.
    """
    year = re.match(r"\+?(\d{1,16})(?=-|$)", text)
    if year is None or not int(year[1]):
        raise BadFact("the object is no date of the common era")
    if exact_to_the_day and not any("year" in relation.object_kinds for relation in relations):
        raise BadFact("the object is a day, and the relation has no objects of kind 'year'")
    return str(int(year[1]))


def unsigned(text: str) -> str:
    """Return a number without its plus sign."""
    return text.removeprefix("+")
