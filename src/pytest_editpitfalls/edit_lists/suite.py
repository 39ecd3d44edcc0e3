"""A list of edits as a suite: one case for each edit, made of the facts around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_editpitfalls import files
from pytest_editpitfalls.cases.case import Case, HeldFact
from pytest_editpitfalls.cases.digests import case_digest, digest_of
from pytest_editpitfalls.garbage import held_back
from pytest_editpitfalls.knowledge import Knowledge, load_knowledge
from pytest_editpitfalls.pitfalls import compile_case, pitfall_of
from pytest_editpitfalls.pitfalls.edits import EditsRow, Together, TogetherRow
from pytest_editpitfalls.suites.discovery import suite_names
from pytest_editpitfalls.suites.suite import Suite, long_name, renamed

from .around import Around, around
from .lint import lint
from .planned import EditList, PlannedEdit
from .reading import read_edits
from .world import World

KIND = "edits"
FORMAT = "edits"
"""Format of suites that are made of a list."""


@dataclass(frozen=True, slots=True)
class EditSuite:
    """A list of edits, ready to run.

    Attributes:
        suite: its cases.
        notices: what a user should know before it runs: conflicts, and edits around which nothing is known.
    """

    suite: Suite
    notices: tuple[str, ...]


@held_back()
def load_edit_suite(
    path: Path,
    *,
    facts: Sequence[Path] = (),
    relations: Path | None = None,
    rules: Path | None = None,
    together: bool = False,
) -> EditSuite:
    """Read a list of edits and make its suite.

    Args:
        path: the list.
        facts, relations, rules: what is true and what follows; default: what ships.
        together: whether all edits are written in one step, instead of each on its own.

    Raises:
        UsageError: a file is wrong; it is named with line and field.
    """
    knowledge = load_knowledge(facts, relations, rules)
    return edit_suite(read_edits(path, knowledge.relations), knowledge, together=together)


def edit_suite(edits: EditList, knowledge: Knowledge, *, together: bool = False) -> EditSuite:
    """Make the suite of a list; the arguments are those of `load_edit_suite`."""
    world = World(edits, knowledge)
    found = [around(world, edit) for edit in edits.edits]
    name = files.plain_name(edits.path.stem)
    rivals = _Rivals(world)
    cases = [
        _case(name, index, edit, each, rivals, str(edits.path))
        for index, (edit, each) in enumerate(zip(edits.edits, found, strict=True))
    ]
    if together:
        cases = _together(cases)
    suite = Suite(
        name=name,
        kind=KIND,
        cases=tuple(cases),
        thresholds=pitfall_of(KIND).thresholds,
        license="",
        provenance=f"made of {edits.path.name} and {len(knowledge):,} facts",
        source=edits.path,
        digest=digest_of([case_digest(case) for case in cases]),
        format=FORMAT,
    )
    if name in suite_names():
        suite = renamed(suite, long_name(suite))
    return EditSuite(suite, tuple(_notices(edits, knowledge, found, together)))


def _case(suite: str, index: int, edit: PlannedEdit, found: Around, rivals: _Rivals, source: str) -> Case:
    row = EditsRow(
        id=edit.id,
        rule=edit.relation or "prompt",
        edits=(found.edit,),
        siblings=found.siblings,
        others=found.others,
        ties=found.ties,
        neighbours=found.neighbours,
        inverses=found.inverses,
        conclusions=found.conclusions,
        expectations=found.expectations,
    )
    named = dict.fromkeys(fact.relation for fact in row.named_facts().values())
    return Case(
        suite=suite,
        kind=KIND,
        source=source,
        source_index=index,
        row=row,
        relations=tuple(found.relations[name] for name in named),
        held=tuple(HeldFact(name, fact, **rivals.of(edit)) for name, fact in row.held_facts().items() if edit.relation),
    )


class _Rivals:
    """What competes for the object of an edit: all objects of its relation but the true ones."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._objects: dict[str, tuple[str, ...]] = {}

    def of(self, edit: PlannedEdit) -> dict[str, Any]:
        objects = self._objects.get(edit.relation)
        if objects is None:
            known = self._world.knowledge.objects(edit.relation)
            objects = self._objects[edit.relation] = tuple(thing.in_text for thing in known)
        names = (name for fact in self._world.facts_at(edit) for name in fact.to.names)
        true = self._world.knowledge.called(edit.relation, names)
        return {"candidates": objects, "scores": ("mean", "sum"), "not_rivals": true}


def _together(cases: Sequence[Case]) -> list[Case]:
    """Return the cases with all their edits in one step, each as it is written on its own."""
    requests = tuple(request for case in cases for step in compile_case(case).steps for request in step)
    step = Together(digest_of(requests), requests)
    return [replace(case, row=TogetherRow(**{**dict(case.row), "together": step})) for case in cases]


def _notices(edits: EditList, knowledge: Knowledge, found: Sequence[Around], together: bool) -> list[str]:
    report = lint(edits, knowledge)
    notices = list(edits.notes)
    if together:
        notices.append(f"all {_count(len(found), 'edit')} are written in one step; every case asks the model after it")
    if count := report.count("conflict"):
        first = next(finding for _, finding in report.findings if finding.severity == "conflict")
        notices.append(
            f"{_count(count, 'conflict')}, the first at {edits.counted} {first.edits[-1].number}: {first.text} "
            f"(all of them: editpitfalls lint {edits.path.name})"
        )
    if bare := sum(each.is_bare for each in found):
        takes = "it is asked only whether it takes" if bare == 1 else "they are asked only whether they take"
        notices.append(f"nothing is known around {bare:,} of {_count(len(found), 'edit')}; {takes}")
    if unknown := sum(not each.edit.object for each in found):
        notices.append(
            f"target_true is missing and not known for {_count(unknown, 'edit')}: their es and ps are unknown"
        )
    return [f"{edits.path.name}: {notice}" for notice in notices]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
