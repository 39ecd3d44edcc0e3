"""Edits in words, as the case file writes them: whoever shows them escapes them."""

from __future__ import annotations

from pytest_editpitfalls.cases.case import Case


def edits_in_words(case: Case, multi_label: bool = False) -> list[str]:
    """Return one line per edit: the question, the old object and the new one (with Multi-Label Edit, the new ones)."""
    steps = [(case.questions(edit.before)[0].rstrip(), edit.object, edit.new_object) for edit in case.edits]
    if case.kind == "round":  # the second edit writes the first object back
        question, old, new = steps[0]
        steps.append((question, new, " + ".join(case.true_objects) if multi_label else old))
    return [
        f"edit {number}: {question} ... {old} -> {new}"
        for number, (question, old, new) in enumerate(steps, 1)
    ]
