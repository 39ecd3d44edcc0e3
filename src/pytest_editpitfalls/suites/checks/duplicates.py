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
    relations: dict[Relation, Case] = {}
    for _, case in cases_of(material):
        key = (case.kind, (case.edits, getattr(case.row, "tied", None), getattr(case.row, "true_objects", None)))
        if (other := first.setdefault(key, case)) is not case:
            yield finding_of(
                case, "warning", f"says the same as {other.suite} case {other.id}", "leave one of them out"
            )
        edited[case.edits[0].before].append(case)
        for relation in case.relations:
            relations.setdefault(relation, case)
    yield from _shared(edited)
    yield from _prompts(relations)


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
