"""Digests of what cases, programs and suites say. Pure; the store and the results key by them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import Field, fields, replace
from functools import cache, lru_cache
from typing import Any

from pydantic import BaseModel

from pytest_editpitfalls.program import Program, SuitePrograms

from .case import LEFT_OUT_AT_DEFAULT, Case

_PLACE = frozenset({"suite", "source", "source_index"})
"""Fields of a case that say where it stands, not what it asks."""


@lru_cache(maxsize=1024)
def case_digest(case: Case) -> str:
    """Digest of what a case says: its whole row, and everything else of it but where it stands.

    Key, store and results ask for it one after the other: the latest ones are remembered.
    """
    return digest_of({each.name: getattr(case, each.name) for each in fields(case) if each.name not in _PLACE})


@lru_cache(maxsize=1024)
def program_digest(program: Program) -> str:
    """Digest of a program. The case's id is in it: draws are seeded by it. Remembered as `case_digest`.

    Steps that many programs share stand in it by their own digest.
    """
    return digest_of(replace(program, steps=()) if program.shared else program)


@lru_cache(maxsize=64)
def suite_digest(suite: SuitePrograms) -> str:
    """Digest of all programs of a suite, in their order; computed once per object."""
    return digest_of([program_digest(program) for program in suite.programs])


def digest_of(value: Any) -> str:
    """SHA-256 over the canonical JSON of ``value``: sorted keys, no spaces, ASCII; objects by what they compare by."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_by_field)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _by_field(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(value, BaseModel):
        for name, known in type(value).model_fields.items():
            given = getattr(value, name)
            if not (LEFT_OUT_AT_DEFAULT in known.metadata and given == known.default):
                found[name] = given
        return found
    for each in _compared(value.__class__):
        given = getattr(value, each.name)
        found.update(each.metadata["digest"](each.name, given) if each.metadata else {each.name: given})
    return found


@cache
def _compared(kind: Any) -> tuple[Field[Any], ...]:
    """The fields that objects of a dataclass are compared by."""
    return tuple(each for each in fields(kind) if each.compare)
