"""Lists of edits in the forms of other benchmarks, as `suites.readers` reads them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from pytest_editpitfalls.knowledge import Relations
from pytest_editpitfalls.suites.benchmarks.json_rows import first_rows
from pytest_editpitfalls.suites.readers import edits_of

from .forms import is_own_form
from .planned import EditList, PlannedEdit
from .wording import Wordings

NAME_NO_RELATION = ("zsRE", "WikiBigEdit", "KnowEdit")
"""Forms whose files do not say of which relation an edit is: what `PlainEdit.relation` has is made of the prompt."""


def read_benchmark_edits(path: Path, relations: Relations) -> EditList | None:
    """Read the edits of a benchmark's file; None for any other file, and for a list in this project's own form.

    A record that is no edit is left out, and a note says how many there are and why.

    Raises:
        UsageError: the file, or a field of it, is wrong.
    """
    if any(map(is_own_form, first_rows(path))) or (records := edits_of(path)) is None:
        return None
    wordings = Wordings(relations)
    names = records.form not in NAME_NO_RELATION
    seen: Counter[int] = Counter()
    edits = []
    for edit in records.edits:
        known = relations.named(edit.relation) if names else None
        number = edit.row + 1
        seen[number] += 1  # a record of MQuAKE may have several edits
        edits.append(
            PlannedEdit(
                number=number,
                place=f"{path}, record {number}",
                id=f"{number:04d}" + (f".{seen[number]}" if seen[number] > 1 else ""),
                subject=edit.subject,
                relation=known.id if known is not None else wordings.relation_of(edit.prompt),
                prompt=edit.prompt,
                target_new=edit.target_new,
                target_true=edit.target_true,
                paraphrases=edit.paraphrases,
                neighbours=tuple((each.prompt, each.answer) for each in edit.neighbours if each.answer),
                stated_relation=edit.relation if names else "",
            )
        )
    notes = [f"{path.name} is a {records.form} file: {len(edits):,} edits in {records.count:,} records"]
    notes += [
        f"records left out: {count:,}, {reason} (first: record {records.first[reason] + 1})"
        for reason, count in records.left_out.most_common()
        if " case:" not in reason  # what can be no case is an edit all the same
    ]
    return EditList(path, "record", tuple(edits), tuple(notes))
