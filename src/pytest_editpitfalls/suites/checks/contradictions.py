"""What the suites say of the world, held against itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from pytest_editpitfalls.cases.case import Case, Edit
from pytest_editpitfalls.knowledge.relations import read_relations
from pytest_editpitfalls.shipped import facts_directory
from pytest_editpitfalls.suites.checking import Check, Finding, Material, cases_of, finding_of, worst
from pytest_editpitfalls.suites.suite import Suite


def run(material: Material) -> Iterator[Finding]:
    """Give facts that contradict each other, and new objects that are true according to another case."""
    true: dict[tuple[str, str], dict[str, tuple[Suite, Case]]] = defaultdict(dict)
    for suite, case in cases_of(material):
        for fact in case.row.base_facts():
            true[fact.relation, fact.subject].setdefault(fact.object, (suite, case))
    yield from _several_objects(true)
    for suite, case in cases_of(material):
        for number, edit in enumerate(case.edits, 1):
            yield from _true_target(suite, case, number, edit, true)


def _several_objects(true: dict[tuple[str, str], dict[str, tuple[Suite, Case]]]) -> Iterator[Finding]:
    functional = _functional()
    for (relation, subject), objects in true.items():
        if relation in functional and len(objects) > 1:
            (first, (_, one)), (second, (suite, other)) = list(objects.items())[:2]
            yield finding_of(
                other,
                worst(suite),
                f"{relation} of {subject} is '{second}' here and '{first}' in {one.suite} case {one.id}, "
                "but a subject has only one",
                "correct one of them",
            )


def _true_target(
    suite: Suite, case: Case, number: int, edit: Edit, true: dict[tuple[str, str], dict[str, tuple[Suite, Case]]]
) -> Iterator[Finding]:
    found = true.get((edit.relation, edit.subject), {}).get(edit.new_object)
    if found is not None and edit.new_object != edit.object:
        other = found[1]
        elsewhere = "itself" if other is case else f"{other.suite} case {other.id}"
        yield finding_of(
            case,
            worst(suite),
            f"edit {number} writes '{edit.new_object}' for {edit.relation} of {edit.subject}, "
            f"which is true according to {elsewhere}",
            "choose another object",
        )


def _functional() -> frozenset[str]:
    """The relations of which a subject has one object, as far as the facts that ship say so."""
    path = facts_directory() / "relations.toml"
    if not path.is_file():
        return frozenset()
    known = read_relations(path)
    return frozenset(name for name in known if known[name].functional)


CHECK = Check("contradictions", "facts that contradict each other, new objects that are true", run, order=2)
