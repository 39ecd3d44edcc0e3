"""``editpitfalls lint``: which edits of a list clash, before anybody makes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.escaping import encodable, visible
from pytest_editpitfalls.garbage import held_back

from .knowledge import FactsOption, LanguageOption, OverridesOption, RelationsOption, RulesOption, read_knowledge
from .placement import DeviceOption, checked_model
from .show import encoding, print_json

if TYPE_CHECKING:
    from pytest_editpitfalls.edit_lists.lint import Finding, LintReport, Model
    from pytest_editpitfalls.edit_lists.planned import EditList
    from pytest_editpitfalls.knowledge import Knowledge

FOUND = 1
"""Exit status where edits conflict."""

FORMAT = "editpitfalls-lint/1"

_SHOWN = 20
_HEADINGS = {
    "conflict": "Conflicts: these cannot all be true",
    "warning": "Warnings: this may well be meant",
    "note": "Notes",
}


def lint(
    edits: Annotated[
        Path, typer.Argument(metavar="EDITS", help="Planned edits: JSONL, CSV, or JSON.", show_default=False)
    ],
    facts: FactsOption = None,
    relations: RelationsOption = None,
    rules: RulesOption = None,
    overrides: OverridesOption = None,
    language: LanguageOption = "en",
    model: Annotated[
        str | None,
        typer.Option(
            metavar="M",
            help="Ask this model which facts it holds of those that the edits undo.",
            callback=checked_model,
        ),
    ] = None,
    device: DeviceOption = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="Exit status 1 for warnings as well.")] = False,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="KIND", help="Leave out a kind of finding; may be repeated.")
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Show every warning and note, not {_SHOWN} of a kind.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find the edits of a list that conflict: with each other, or with what stays true. No model is needed.

    Exit status: 0 nothing conflicts, 1 edits conflict, 4 an option, a value or a file is wrong.
    """
    from pytest_editpitfalls.edit_lists.lint import HELD, checks
    from pytest_editpitfalls.edit_lists.lint import lint as look
    from pytest_editpitfalls.edit_lists.reading import read_edits

    for kind in ignore or ():
        if kind not in (known := [*checks(), HELD]):
            raise UsageError(f"unknown kind of finding '{kind}'", where="--ignore", fix=did_you_mean(kind, known))
    with held_back():
        knowledge = read_knowledge(facts, relations, rules, overrides, language)
        planned = read_edits(edits, knowledge.relations)
        report = look(planned, knowledge, ignore or (), None if model is None else _opened(model, device))
    if as_json:
        print_json(as_dict(report, knowledge))
    else:
        for line in _lines(report, knowledge, show_all):
            typer.echo(encodable(visible(line), encoding()))
    if report.count("conflict") or (strict and report.count("warning")):
        raise typer.Exit(FOUND)


def _opened(model: str, device: str) -> Model:
    """Return the model, ready to be asked; it is loaded after the list has been read and found to be right."""
    from pytest_editpitfalls.edit_lists.lint import Model
    from pytest_editpitfalls.engine.session import EngineSession
    from pytest_editpitfalls.engine.settings import EngineSettings

    session = EngineSession.open(EngineSettings(model, device=device), lambda text: typer.echo(visible(text), err=True))
    return Model(session.source.short_name or model, session.held)


def as_dict(report: LintReport, knowledge: Knowledge) -> dict[str, Any]:
    """Return a report as plain JSON types: every edit with the findings about it, by their place in ``findings``."""
    about: dict[str, list[int]] = {}
    for place, (_, finding) in enumerate(report.findings):
        for edit in finding.edits:
            about.setdefault(edit.id, []).append(place)
    unit = report.edits.counted
    return {
        "format": FORMAT,
        "edits_file": str(report.edits.path),
        "summary": {
            "edits": len(report.edits.edits),
            "relation_from_prompt": report.edits.by_prompt,
            "relation_unknown": len(report.edits.unknown),
            "subject_unknown": report.unknown_subjects,
            "facts": len(knowledge),
            **{f"{severity}s": report.count(severity) for severity in ("conflict", "warning", "note")},
            "by_kind": dict(Counter(kind for kind, _ in report.findings)),
        },
        "notes": list(report.edits.notes),
        "edits": [
            {
                unit: edit.number,
                "id": edit.id,
                "subject": edit.subject,
                "relation": edit.relation or None,
                "prompt": edit.prompt or None,
                "target_new": edit.target_new,
                "target_true": edit.target_true or None,
                "findings": about.get(edit.id, []),
            }
            for edit in report.edits.edits
        ],
        "findings": [
            {
                "kind": kind,
                "severity": finding.severity,
                f"{unit}s": [edit.number for edit in finding.edits],
                "edits": [edit.id for edit in finding.edits],
                "text": finding.text,
                "facts": list(finding.facts),
                "rule": finding.rule or None,
                "count": finding.count,
            }
            for kind, finding in report.findings
        ],
    }


def _lines(report: LintReport, knowledge: Knowledge, show_all: bool) -> Iterator[str]:
    yield f"{report.edits.path}: {_summary(report, knowledge)}"
    for note in report.edits.notes:
        yield f"note: {note}"
    for severity, heading in _HEADINGS.items():
        found = [each for each in report.findings if each[1].severity == severity]
        if not found:
            continue
        yield ""
        yield heading
        left_out: Counter[str] = Counter()
        shown: Counter[str] = Counter()
        for kind, finding in found:
            shown[kind] += 1
            if severity != "conflict" and shown[kind] > _SHOWN and not show_all:
                left_out[kind] += 1
                continue
            yield _line(kind, finding, report.edits)
        for kind, count in left_out.items():
            yield f"... and {count:,} more of {kind}: --all or --json shows them"
    yield ""
    counts = [
        f"{report.count(severity):,} {severity}{'' if report.count(severity) == 1 else 's'}"
        for severity in ("conflict", "warning", "note")
    ]
    yield ", ".join(counts)


def _line(kind: str, finding: Finding, edits: EditList) -> str:
    *others, last = finding.edits
    along = f" (with {edits.counted} {', '.join(str(edit.number) for edit in others)})" if others else ""
    rule = f" [{finding.rule}]" if finding.rule else ""
    return f"{last.place}: {kind}: {finding.text}{along}{rule}"


def _summary(report: LintReport, knowledge: Knowledge) -> str:
    edits = report.edits
    parts = [
        f"{len(edits.edits):,} edit{'' if len(edits.edits) == 1 else 's'}, checked against {len(knowledge):,} facts"
    ]
    if edits.by_prompt:
        parts.append(f"{edits.by_prompt:,} recognised by the prompt")
    if edits.unknown:
        parts.append(f"{len(edits.unknown):,} with a prompt of no known relation: only compared with each other")
    if report.unknown_subjects:
        parts.append(f"{report.unknown_subjects:,} of a subject that no such fact is known of")
    return "; ".join(parts)
