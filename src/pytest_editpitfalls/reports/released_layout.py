"""Results in the released benchmark's layout, so that its own summary script reads them.

The script (zjunlp/PitfallsKnowledgeEditing, experiments/summarize.py) is given one directory, `--res_dir`. A file
there is a list with one row per case: fields with ``{"rewrite": p, "generation": [p, ...]}``, the probability after the
rewrite prompt and those after the paraphrases. The kinds of pitfall say which files and fields there are
(`Pitfall.released_layout`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.files import plain_name
from pytest_editpitfalls.options.editor_labels import editor_name, is_multi_label
from pytest_editpitfalls.outputs import write_text
from pytest_editpitfalls.pitfalls._registry import AnyPitfall
from pytest_editpitfalls.pitfalls._released_layout import Fields, Numbered, ReleasedFile
from pytest_editpitfalls.results.records import CaseRecord, RunResults

from .view.run import RunView

WHERE = "editpitfalls export --released"

SCRIPTS_EDITORS = ("FT", "MEND", "ROME", "MEMIT")
"""The file names that the released script looks for."""

Answers = Mapping[tuple[str, str], dict[str, Any]]


@dataclass
class Exported:
    """What was written.

    Attributes:
        left_out: file and why cases are left out of it -> how many.
    """

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


class _Unusable(Exception):
    """The script could not read the row, or would divide by zero."""


def export_released(results: RunResults, directory: Path) -> Exported:
    """Write all cases that the released script can read, below one directory per model where the run has several.

    Raises:
        UsageError: nothing can be exported, two suites or editors would share a file, or editors have different cases
            where the script reads them beside the base model's.
    """
    view = RunView(results)
    groups: dict[tuple[str, str, str], list[CaseRecord]] = {}
    for case in sorted(results.cases, key=lambda case: case.source_index):
        groups.setdefault((case.model, case.suite, case.editor), []).append(case)
    exported = Exported()
    contents: dict[Path, list[dict[str, Any]]] = {}
    models = list(dict.fromkeys(model for model, _, _ in groups))
    shared: dict[Path, str] = {}
    for (model, suite, editor), cases in groups.items():
        pitfall, plain = view.pitfalls.get(suite), editor_name(editor)
        if pitfall is None or pitfall.released_layout is None:
            exported.remarks.append(visible(f"{suite}: the script does not know this kind of pitfall; left out"))
            continue
        if not pitfall.multi_label and is_multi_label(editor) and (model, suite, plain) in groups:
            exported.remarks.append(visible(f"{suite}: {editor} does there what {plain} does; left out"))
            continue
        root = Path(plain_name(model)) if len(models) > 1 else Path()
        for file, name, rows in _files(pitfall, suite, editor, cases, exported):
            path = root / name
            if not rows:
                continue
            known, first = contents.setdefault(path, rows), shared.setdefault(path, editor)
            if known is rows:
                continue
            if "{editor}" in file.path:
                fix = "choose one suite of each kind with --only-suite, one editor with --editor"
                raise UsageError(f"several suites or editors would be written to {path}", where=WHERE, fix=fix)
            if [row["case"] for row in rows] != [row["case"] for row in known]:
                what = f"{first} and {editor} have different cases, and the script reads both beside {path}"
                raise UsageError(what, where=WHERE, fix="export one editor at a time: --editor")
    if not contents:
        fix = "export a run with scored cases of the published kinds of suite"
        raise UsageError("the run has no case that the released script could read", where=WHERE, fix=fix)
    exported.files = [_write(directory / path, rows) for path, rows in contents.items()]
    if others := sorted({_file_name(editor) for _, _, editor in groups} - set(SCRIPTS_EDITORS)):
        known_to_it, to_add = ", ".join(SCRIPTS_EDITORS), ", ".join(others)
        exported.remarks.append(visible(f"the script reads {known_to_it} alone: add {to_add} to its methods"))
    if any(is_multi_label(editor) and editor_name(editor) != "memit" for _, _, editor in groups):
        exported.remarks.append("of files with _multi the script reads those of MEMIT alone")
    return exported


def _files(
    pitfall: AnyPitfall, suite: str, editor: str, cases: Sequence[CaseRecord], exported: Exported
) -> Iterator[tuple[ReleasedFile, Path, list[dict[str, Any]]]]:
    """Give the files of one editor on one suite, each with its path and rows; count what is left out of them."""
    layout = pitfall.released_layout
    assert layout is not None
    names = {
        "editor": _file_name(editor),
        "suite": pitfall.published_suite(suite),
        "multi": "_multi" if is_multi_label(editor) else "",
    }
    for group in layout.groups:
        paths = [Path(file.path.format(**names)) for file in group]
        rows: list[list[dict[str, Any]]] = [[] for _ in group]
        for case in cases:
            try:
                answers = _answers(case)
                made = [_filled(file.fields, answers, layout.divided_by) for file in group]
            except _Unusable as reason:
                what = f"{paths[0].as_posix()}: {reason}"
                exported.left_out[what] = exported.left_out.get(what, 0) + 1
                continue
            for place, fields in enumerate(made):
                rows[place].append({"case": case.source_index, **fields})
        yield from zip(group, paths, rows, strict=True)


def _answers(case: CaseRecord) -> Answers:
    if not case.is_scored:
        raise _Unusable(f"not scored ({case.outcome})")
    return {
        (probe.fact, probe.state): {"rewrite": probe.probabilities[0], "generation": probe.probabilities[1:]}
        for probe in case.probes
        if probe.measure == "probability" and probe.probabilities and None not in probe.probabilities
    }


def _filled(fields: Fields, answers: Answers, divided_by: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, asked in fields.items():
        if isinstance(asked, Numbered):
            count = len({fact for fact, _ in answers if fact.startswith(f"{asked.fact}:")})
            if not count:
                raise _Unusable(f"no '{asked.fact}' fact is known")
            row[name] = [_answer(answers, f"{asked.fact}:{place}", asked.state) for place in range(count)]
        elif isinstance(asked, Mapping):
            row[name] = _filled(asked, answers, ())
        else:
            row[name] = _answer(answers, *asked)
            if name in divided_by and not any([row[name]["rewrite"], *row[name]["generation"]]):
                raise _Unusable(f"the probability of '{asked[0]}' is 0 before the edits: the script divides by it")
    return row


def _answer(answers: Answers, fact: str, state: str) -> dict[str, Any]:
    if (fact, state) not in answers:
        raise _Unusable(f"no probability of '{visible(fact)}' in state {visible(state)}")
    return answers[fact, state]


def _file_name(editor: str) -> str:
    return plain_name(editor_name(editor)).upper()


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        what = f"cannot make '{path.parent}': {error.strerror}"
        raise UsageError(what, where=WHERE, fix="name a directory that you may write to") from None
    lines = ",\n".join(map(json.dumps, rows))
    write_text(f"[\n{lines}\n]\n", path, where=WHERE)
    return path
