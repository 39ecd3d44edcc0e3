"""Whether the files can be read, and what of them was left out."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_editpitfalls.suites.checking import Check, Finding, Material


def run(material: Material) -> Iterator[Finding]:
    """Give what kept a file from being read, and what was left out of another."""
    yield from material.unread
    for suite in material.suites:
        for note in suite.notes[1:]:
            yield Finding("note", note, str(suite.source), suite.name)


CHECK = Check("schema", "files that cannot be read, records that are left out", run, order=1)
