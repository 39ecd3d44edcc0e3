"""Labels that are none, and objects that are too much alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.cases.leaks import contains_label
from pytest_editpitfalls.suites.checking import Check, Finding, Level, Material, cases_of, finding_of, worst

_ID = re.compile(r"^[QP]\d+$")


def run(material: Material) -> Iterator[Finding]:
    """Give ids in the place of labels, edits that change nothing, and true objects that hold one another."""
    for suite, case in cases_of(material):
        for level, what, fix in _of_case(case, worst(suite)):
            yield finding_of(case, level, what, fix)


def _of_case(case: Case, mistake: Level) -> Iterator[tuple[Level, str, str]]:
    labels = [label for edit in case.edits for label in (edit.subject, edit.object, edit.new_object)]
    objects = getattr(case.row, "true_objects", ())
    for label in dict.fromkeys([*labels, *objects]):
        if _ID.match(label):
            yield "warning", f"'{label}' is an id of Wikidata, not a label", "write its label"
        elif label != label.strip():
            yield "warning", f"the label '{label}' begins or ends with a space", "leave the space out"
        elif not label.strip():
            yield mistake, "a label is empty", "write it"
    for number, edit in enumerate(case.edits, 1):
        if edit.object == edit.new_object:
            yield mistake, f"edit {number} replaces '{edit.object}' by itself", "choose another object"
        elif contains_label(edit.new_object, edit.object) or contains_label(edit.object, edit.new_object):
            what = (
                f"of what edit {number} replaces and writes, one holds the other: '{edit.object}', '{edit.new_object}'"
            )
            yield "warning", what, "choose objects that share no words"
        if contains_label(edit.subject, edit.new_object):
            yield (
                "warning",
                f"edit {number} writes '{edit.new_object}', which stands in '{edit.subject}'",
                "choose another",
            )
    for place, one in enumerate(objects):
        for other in objects[place + 1 :]:
            if contains_label(one, other) or contains_label(other, one):
                yield "warning", f"of two true objects one holds the other: '{one}', '{other}'", "keep one of them"


CHECK = Check("labels", "ids as labels, edits that change nothing, objects that hold one another", run, order=8)
