"""What is said more than once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from pytest_editpitfalls.cases.case import Case, Relation
from pytest_editpitfalls.suites.checking import Check, Finding, Material, cases_of, finding_of


def run(material: Material) -> Iterator[Finding]:
    """Give cases, prompts and edited facts that stand there twice."""
    first: dict[tuple[str, object], Case] = {}
    edited: dict[object, list[Case]] = defaultdict(list)
    about: dict[tuple[str, str, str], list[Case]] = defaultdict(list)
    relations: dict[Relation, Case] = {}
    for _, case in cases_of(material):
        key = (case.kind, (case.edits, getattr(case.row, "tied", None), getattr(case.row, "true_objects", None)))
        if (other := first.setdefault(key, case)) is not case:
            yield finding_of(
                case, "warning", f"says the same as {other.suite} case {other.id}", "leave one of them out"
            )
        else:
            about[case.suite, case.edits[0].relation, case.edits[0].subject].append(case)
        edited[case.edits[0].before].append(case)
        for relation in case.relations:
            relations.setdefault(relation, case)
    yield from _same_subject(about)
    yield from _shared(edited)
    yield from _prompts(relations)


def _same_subject(about: dict[tuple[str, str, str], list[Case]]) -> Iterator[Finding]:
    """Subjects that edit 1 of several cases of a suite is about: their results are not independent."""
    for (_, relation, subject), cases in about.items():
        if len(cases) > 1:
            others = ", ".join(case.id for case in cases[1:4]) + (", ..." if len(cases) > 4 else "")
            what = f"edit 1 is about {relation} of {subject}, as in {others}"
            yield finding_of(cases[0], "note", what, "cases of one subject are not independent of each other")


def _shared(edited: dict[object, list[Case]]) -> Iterator[Finding]:
    """Facts that edit 1 of several suites replaces: their results are not independent."""
    for cases in edited.values():
        suites = list(dict.fromkeys(case.suite for case in cases))
        if len(suites) > 1:
            edit = cases[0].edits[0]
            yield finding_of(
                cases[0],
                "note",
                f"edit 1 replaces {edit.relation} of {edit.subject} ('{edit.object}'), as in {', '.join(suites[1:])}",
                "suites that share facts are not independent of each other",
            )


def _prompts(relations: dict[Relation, Case]) -> Iterator[Finding]:
    said = set()
    for relation, case in relations.items():
        counts = Counter((relation.prompt, *relation.paraphrases))
        twice = [prompt for prompt, count in counts.items() if count > 1]
        if twice and (key := (relation.id, *twice)) not in said:
            said.add(key)
            what = f"{relation.id} has {len(twice)} of its {len(counts)} prompts several times: '{twice[0]}'"
            yield Finding("warning", what, case.source, case.suite, "", "a prompt counts as often as it stands there")


CHECK = Check("duplicates", "cases, prompts and edited facts that stand there twice", run, order=3)
