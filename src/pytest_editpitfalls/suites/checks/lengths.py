"""Old and new objects of unequal length: the longer one has the smaller probability, whatever the model believes."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.cases.leaks import words
from pytest_editpitfalls.errors import UnscorableCase
from pytest_editpitfalls.suites.checking import Check, Finding, Material, Tokens, cases_of, finding_of

_FAR_APART = 3
"""Times as long."""


def run(material: Material) -> Iterator[Finding]:
    """Give edits whose objects differ in length: in tokens where a model is given, otherwise in words."""
    unit = "word" if material.tokens is None else "token"
    for _, case in cases_of(material):
        for number, edit in enumerate(case.edits, 1):
            joiner = case.relation(edit.relation).joiner
            sizes = [_size(label, joiner, material.tokens) for label in (edit.object, edit.new_object)]
            if None in sizes or sizes[0] == sizes[1]:
                continue
            short, long = sorted(size for size in sizes if size is not None)
            if material.tokens is None and long - short < 2:
                continue  # words say little of tokens
            far = long >= _FAR_APART * short
            yield finding_of(
                case,
                "warning" if far else "note",
                f"edit {number} replaces '{edit.object}' ({sizes[0]} {unit}{'' if sizes[0] == 1 else 's'}) "
                f"by '{edit.new_object}' ({sizes[1]})",
                "choose objects of about the same length",
            )


def _size(label: str, joiner: str, tokens: Tokens | None) -> int | None:
    if tokens is None:
        return len(words(label)) or None
    try:
        return len(tokens.target(label, joiner))
    except UnscorableCase:
        return None  # the check of tokens says so


CHECK = Check("lengths", "old and new objects of unequal length", run, order=5)
