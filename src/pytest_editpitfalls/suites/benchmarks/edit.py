"""One edit of a file, made of its parts; what is missing is counted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_editpitfalls.files import MAX_LABEL

from .prompts import has_place, is_label, relation_name, template_of, templates_of
from .records import Neighbour, PlainEdit, Records
from .rows import Rewrite, target

NO_SUBJECT = "the subject does not stand in the prompt"
NO_NEW = "there is nothing to write (the new object is empty)"
TOO_LONG = f"the new object has more than {MAX_LABEL} characters"


def add_edit(
    records: Records,
    path: Path,
    row: int,
    *,
    subject: str,
    prompt: str,
    target_new: str,
    target_true: str,
    relation: str = "",
    paraphrases: Iterable[str] = (),
    question: str = "",
    neighbours: Iterable[Neighbour] = (),
) -> PlainEdit | None:
    """Add an edit to the records, or count why there is none, and return it.

    Args:
        records: what is being read.
        path: the file.
        row: the record.
        subject: the subject.
        prompt: with ``{}``, or with the subject in place.
        target_new, target_true: objects; "" where the file has none.
        relation: the file's id of the relation; "" where it has none.
        paraphrases: with the subject in place; those without it are left out.
        question: the same, as a question.
        neighbours: facts that the edit has to leave alone.
    """
    if not is_label(subject):
        records.leave_out("no subject", row)
        return None
    if not is_label(target_new):
        records.leave_out(TOO_LONG if target_new.strip() else NO_NEW, row)
        return None
    if not has_place(prompt):
        found = template_of(prompt, subject)
        if found is None:
            records.leave_out(NO_SUBJECT, row)
            return None
        prompt, subject = found
    asked = template_of(question, subject)
    edit = PlainEdit(
        subject=subject,
        prompt=prompt,
        target_new=target_new,
        target_true=target_true if is_label(target_true) else "",
        relation=relation or relation_name(prompt),
        paraphrases=templates_of(paraphrases, subject),
        neighbours=tuple(neighbours),
        question=asked[0] if asked else "",
        row=row,
        place=f"{path.name}, row {row}",
    )
    records.edits.append(edit)
    return edit


def add_rewrite(
    records: Records,
    path: Path,
    row: int,
    rewrite: Rewrite,
    *,
    paraphrases: Iterable[str] = (),
    neighbours: Iterable[Neighbour] = (),
) -> PlainEdit | None:
    """The same for an edit of CounterFact's form."""
    return add_edit(
        records,
        path,
        row,
        subject=rewrite["subject"],
        prompt=rewrite["prompt"],
        target_new=target(rewrite, "target_new"),
        target_true=target(rewrite, "target_true"),
        relation=rewrite.get("relation_id", ""),
        paraphrases=(*paraphrases, *filter(None, [rewrite.get("question", "")])),
        question=rewrite.get("question", ""),
        neighbours=neighbours,
    )
