"""Digests of what cases, programs and suites say. Pure; the store and the results key by them."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any

from pytest_editpitfalls.program import Program, SuitePrograms

from .case import Case


@lru_cache(maxsize=1024)
def case_digest(case: Case) -> str:
    """Digest of what a case says: its protocol, edits, relations with their prompts, and facts.

    Key, store and results ask for it one after the other: the latest ones are remembered.
    """
    said = ("id", "kind", "edits", "relations", "tied", "true_objects", "others", "held")
    return digest_of({name: getattr(case, name) for name in said})


@lru_cache(maxsize=1024)
def program_digest(program: Program) -> str:
    """Digest of a program. The case's id is in it: draws are seeded by it. Remembered as `case_digest`."""
    return digest_of(program)


@lru_cache(maxsize=64)
def suite_digest(suite: SuitePrograms) -> str:
    """Digest of all programs of a suite, in their order; computed once per object."""
    return digest_of([program_digest(program) for program in suite.programs])


def digest_of(value: Any) -> str:
    """SHA-256 over the canonical JSON of ``value``: sorted keys, no spaces, ASCII; a dataclass by its fields."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_by_field)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _by_field(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}
