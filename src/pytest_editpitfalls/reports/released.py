"""Results in the released benchmark's layout, so that its own summary script reads them.

The script (zjunlp/PitfallsKnowledgeEditing, experiments/summarize.py) is given one directory, `--res_dir`::

    conflict_results/EDITOR_SUITE.json   reverse, composite, coverage
    round_results/EDITOR_SUITE.json      easy, hard; EDITOR_SUITE_multi.json with Multi-Label Edit
    round_results/SUITE_model.json       the base model, shared by all editors: row by row the same cases

A file is a list with one row per case: stage -> ``{"rewrite": p, "generation": [p, ...]}``, the probability after the
rewrite prompt and those after the paraphrases. The explicit and the implicit conflict score are one field of
one file there: there is a directory for each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.files import plain_name
from pytest_editpitfalls.options.editor_labels import editor_name, is_multi_label
from pytest_editpitfalls.results.records import CaseRecord, RunResults
from pytest_editpitfalls.results.writer import write_text

from .tables import papers_suite

WHERE = "editpitfalls export --released"

SCRIPTS_EDITORS = ("FT", "MEND", "ROME", "MEMIT")
"""The file names that the released script looks for."""

Stages = Mapping[str, tuple[str, str]]
"""Field of a row -> (fact, state)."""

_CONFLICT: Stages = MappingProxyType(
    {"CS_pre": ("old", "12"), "CM_pre": ("old", "1"), "CM_post": ("old", "12")}
)
_SUITE_STAGES: Mapping[str, Stages] = MappingProxyType(
    {
        "reverse": {},
        "composite": {
            "fact_0": ("tied", "0"),
            "fact_1": ("tied", "1"),
            "fact_2": ("tied", "12"),
            "fact_o": ("tied", "2"),
        },
        "coverage": {"S_pre": ("single_old", "2"), "S_post": ("single_new", "2")},
    }
)
_MODES: Mapping[str, str] = MappingProxyType({"explicit": "new_exp", "implicit": "new_imp"})
"""Directory -> the fact whose probability is CS_post."""

_DIVIDED_BY = ("CM_pre", "fact_0")
"""The script divides by the means of these."""

Answers = Mapping[tuple[str, str], dict[str, Any]]


@dataclass
class Exported:
    """What was written.

    Attributes:
        files: the files, in order.
        left_out: file and why cases are left out of it -> how many.
        remarks: what else there is to know.
    """

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


class _Unusable(Exception):
    """The script could not read the row, or would divide by zero."""


def export_released(results: RunResults, directory: Path) -> Exported:
    """Write all cases that the released script can read.

    The directories are ``explicit`` (conflict with the explicit score, and round edits) and ``implicit`` (reverse and
    composite with the implicit one), below one directory per model where the run has several.

    Raises:
        UsageError: nothing can be exported, two suites or editors would share a file, or the editors of a round suite
            have different cases.
    """
    kinds = {suite.name: suite.kind for suite in results.run.suites}
    groups: dict[tuple[str, str, str], list[CaseRecord]] = {}
    for case in sorted(results.cases, key=lambda case: case.source_index):
        groups.setdefault((case.model, case.suite, case.editor), []).append(case)
    exported = Exported()
    contents: dict[Path, list[dict[str, Any]]] = {}
    models = list(dict.fromkeys(model for model, _, _ in groups))
    base: dict[Path, str] = {}
    for (model, suite, editor), cases in groups.items():
        if (
            kinds[suite] != "round"
            and is_multi_label(editor)
            and (model, suite, editor_name(editor)) in groups
        ):
            exported.remarks.append(
                visible(f"{suite}: {editor} does there what {editor_name(editor)} does; left out")
            )
            continue
        root = Path(plain_name(model)) if len(models) > 1 else Path()
        released = papers_suite(suite, kinds[suite])
        parts = (
            _round_files(cases, released, editor, exported)
            if kinds[suite] == "round"
            else _conflict_files(cases, released, editor, exported)
        )
        for name, rows in parts:
            path = root / name
            if not rows:
                continue
            if name.name.endswith("_model.json"):
                _same_cases(contents.get(path), base.setdefault(path, editor), editor, rows, path)
            elif path in contents:
                raise UsageError(
                    f"several suites or editors would be written to {path}",
                    where=WHERE,
                    fix="choose one suite of each kind with --only-suite, one editor with --editor",
                )
            contents.setdefault(path, rows)
    if not contents:
        raise UsageError(
            "the run has no case that the released script could read",
            where=WHERE,
            fix="export a run with scored cases of the five suites",
        )
    exported.files = [_write(directory / path, rows) for path, rows in contents.items()]
    if others := sorted({_file_name(editor) for _, _, editor in groups} - set(SCRIPTS_EDITORS)):
        exported.remarks.append(
            visible(
                f"the script reads {', '.join(SCRIPTS_EDITORS)} alone: add {', '.join(others)} to its methods"
            )
        )
    if any(is_multi_label(editor) and editor_name(editor) != "memit" for _, _, editor in groups):
        exported.remarks.append("of files with _multi the script reads those of MEMIT alone")
    return exported


def _conflict_files(
    cases: Sequence[CaseRecord], released: str, editor: str, exported: Exported
) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    name = f"{_file_name(editor)}_{released}.json"
    for mode, fact in _MODES.items():
        if released == "coverage" and mode == "implicit":
            continue
        stages = {**_CONFLICT, **_SUITE_STAGES[released], "CS_post": (fact, "12")}
        path = Path(mode, "conflict_results", name)
        yield path, _rows(cases, path, exported, partial(_fields, stages=stages))


def _round_files(
    cases: Sequence[CaseRecord], released: str, editor: str, exported: Exported
) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    folder = Path("explicit", "round_results")
    # a case that lacks something in one of the two files is left out of both: they are read side by side
    suffix = "_multi" if is_multi_label(editor) else ""
    path = folder / f"{_file_name(editor)}_{released}{suffix}.json"
    rows = _rows(cases, path, exported, lambda answers: {**_base(answers), **_round(answers)})
    yield (
        path,
        [{key: row[key] for key in ("case", "edit1", "edit2")} for row in rows],
    )
    # the script reads "model", but "gptj" where it summarises Multi-Label Edit
    yield (
        folder / f"{released}_model.json",
        [{"case": row["case"], "model": row["model"], "gptj": row["model"]} for row in rows],
    )


def _rows(
    cases: Sequence[CaseRecord], path: Path, exported: Exported, make: Callable[[Answers], dict[str, Any]]
) -> list[dict[str, Any]]:
    rows = []
    for case in cases:
        row = _row(case, make)
        if isinstance(row, str):
            what = f"{path.as_posix()}: {row}"
            exported.left_out[what] = exported.left_out.get(what, 0) + 1
        else:
            rows.append(row)
    return rows


def _row(case: CaseRecord, make: Callable[[Answers], dict[str, Any]]) -> dict[str, Any] | str:
    """Return the row of a case, or why there is none."""
    if not case.is_scored:
        return f"not scored ({case.outcome})"
    try:
        return {"case": case.source_index, **make(_answers(case))}
    except _Unusable as reason:
        return str(reason)


def _answers(case: CaseRecord) -> Answers:
    return {
        (probe.fact, probe.state): {"rewrite": probe.probabilities[0], "generation": probe.probabilities[1:]}
        for probe in case.probes
        if probe.probabilities and None not in probe.probabilities
    }


def _fields(answers: Answers, stages: Stages) -> dict[str, Any]:
    row = {}
    for name, (fact, state) in stages.items():
        if (fact, state) not in answers:
            raise _Unusable(f"no probability of '{visible(fact)}' in state {visible(state)}")
        row[name] = answers[fact, state]
        if name in _DIVIDED_BY and not any([row[name]["rewrite"], *row[name]["generation"]]):
            raise _Unusable(f"the probability of '{fact}' is 0 before the edits: the script divides by it")
    return row


def _base(answers: Answers) -> dict[str, Any]:
    fields = _fields(answers, {"target_new": ("object", "0"), "target_true": ("new_object", "0")})
    return {"model": {**fields, "others": _others(answers, "0")}}


def _round(answers: Answers) -> dict[str, Any]:
    return {
        "edit1": _fields(answers, {"target_new": ("new_object", "1"), "target_true": ("object", "1")}),
        "edit2": {
            **_fields(answers, {"target_new": ("object", "12"), "target_true": ("new_object", "12")}),
            "others": _others(answers, "12"),
        },
    }


def _others(answers: Answers, state: str) -> list[dict[str, Any]]:
    count = len({fact for fact, _ in answers if fact.startswith("other:")})
    if not count:
        raise _Unusable("no other true object is known")
    stages = {str(place): (f"other:{place}", state) for place in range(count)}
    return list(_fields(answers, stages).values())


def _same_cases(
    known: list[dict[str, Any]] | None, first: str, editor: str, rows: list[dict[str, Any]], path: Path
) -> None:
    """Refuse an editor whose rows do not lie beside the rows of the base model."""
    if known is not None and [row["case"] for row in rows] != [row["case"] for row in known]:
        raise UsageError(
            f"{first} and {editor} have different cases, and the script reads both beside {path}",
            where=WHERE,
            fix="export one editor at a time: --editor",
        )


def _file_name(editor: str) -> str:
    return plain_name(editor_name(editor)).upper()


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make '{path.parent}': {error.strerror}",
            where=WHERE,
            fix="name a directory that you may write to",
        ) from None
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_text(f"[\n{lines}\n]\n", path, where=WHERE)
    return path
