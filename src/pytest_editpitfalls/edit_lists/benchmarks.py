"""Lists of edits in the forms of other benchmarks that `suites.readers` knows and `forms` does not."""

from __future__ import annotations

from pathlib import Path

from pytest_editpitfalls.knowledge import Relations
from pytest_editpitfalls.suites.readers import edits_of, reader_of

from .planned import EditList, PlannedEdit
from .wording import Wordings

READ_HERE = {"zsRE": False, "RippleEdits": True, "PEAK": True, "WikiBigEdit": False}
"""Form -> whether its files name relations; one edit stands in each record.

CounterFact's form and EasyEdit's are read by `forms`, which refuses a record that is no edit.
"""


def read_benchmark_edits(path: Path, relations: Relations) -> EditList | None:
    """Read the edits of a benchmark's file; None for any other file.

    A record that is no edit is left out, and a note says how many there are and why.

    Raises:
        UsageError: the file, or a field of it, is wrong.
    """
    reader = reader_of(path)
    if reader is None or reader.benchmark not in READ_HERE or (records := edits_of(path)) is None:
        return None
    wordings = Wordings(relations)
    edits = []
    for edit in records.edits:
        known = relations.named(edit.relation) if READ_HERE[records.form] else None
        edits.append(
            PlannedEdit(
                number=edit.row + 1,
                place=f"{path}, record {edit.row + 1}",
                id=f"{edit.row + 1:04d}",
                subject=edit.subject,
                relation=known.id if known is not None else wordings.relation_of(edit.prompt),
                prompt=edit.prompt,
                target_new=edit.target_new,
                target_true=edit.target_true,
                paraphrases=edit.paraphrases,
                neighbours=tuple((each.prompt, each.answer) for each in edit.neighbours if each.answer),
                stated_relation=edit.relation if READ_HERE[records.form] else "",
            )
        )
    notes = [f"{path.name} is a {records.form} file: {len(edits):,} edits in {records.count:,} records"]
    notes += [
        f"records left out: {count:,}, {reason} (first: record {records.first[reason] + 1})"
        for reason, count in records.left_out.most_common()
    ]
    return EditList(path, "record", tuple(edits), tuple(notes))
