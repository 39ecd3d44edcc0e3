"""Cases to programs: one short compiler per protocol (reverse, composite, coverage, round).

The facts and states follow the released code of the pitfalls benchmark. One fact is added to its conflict cases:
"replaced", the object that edit 1 replaces, after edit 1; it tells whether edit 1 took at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from types import MappingProxyType

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Kind, fill
from pytest_editpitfalls.program import EditRequest, HeldQuestion, Probe, Program, State

STATES: MappingProxyType[str, tuple[int, ...]] = MappingProxyType(
    {"0": (), "1": (0,), "12": (0, 1), "2": (1,)}
)
"""The named states: which steps are applied, in which order."""


@lru_cache(maxsize=1024)
def compile_case(case: Case, multi_label: bool = False) -> Program:
    """Return the program that the engine runs for ``case``; the latest ones are remembered.

    Args:
        case: the case.
        multi_label: Multi-Label Edit: the second step of a round edit writes all true objects together. It changes
            no other kind.
    """
    program = COMPILERS[case.kind](case)
    return with_all_true_objects(case, program) if multi_label and case.kind == "round" else program


def compile_reverse(case: Case) -> Program:
    """Reverse: e1 = (s1, r1, o1 -> o2), e2 = (o2, r2, s1 -> s2); implied by e2: (s2, r1, o2)."""
    first, second = case.edits
    return _program(
        case, case.edits, _conflict_probes(case, Fact(first.relation, second.new_object, first.new_object))
    )


def compile_composite(case: Case) -> Program:
    """Composite: tied (s, r, s1), e1 = (s1, r1, o1 -> o2), e2 = (s, r2, . -> o3); implied: (s1, r1, o3)."""
    first, second = case.edits
    probes = _conflict_probes(case, Fact(first.relation, first.subject, second.new_object))
    if case.tied is not None:
        probes += _probes(case, "tied", case.tied, ("0", "1", "12", "2"))
    return _program(case, case.edits, probes)


def compile_coverage(case: Case) -> Program:
    """Coverage: the same (s, r) is written twice, o2 then o3; edit 2 alone gives the single-edit success."""
    first, second = case.edits
    probes = _conflict_probes(case, None)
    probes += _probes(case, "single_old", first.after, ("2",))
    probes += _probes(case, "single_new", second.after, ("2",))
    return _program(case, case.edits, probes)


def compile_round(case: Case) -> Program:
    """Round: o1 -> o* -> o1 on one (s, r) with several true objects."""
    (edit,) = case.edits
    back = Edit(edit.relation, edit.subject, edit.new_object, edit.object)
    probes = _probes(case, "object", edit.before, ("0", "1", "12"))
    probes += _probes(case, "new_object", edit.after, ("0", "1", "12"))
    for index, other in enumerate(case.others):
        probes += _probes(case, f"other:{index}", Fact(edit.relation, edit.subject, other), ("0", "12"))
    return _program(case, (edit, back), probes)


def with_all_true_objects(case: Case, program: Program) -> Program:
    """Multi-Label Edit: step 2 of a round program writes every true object, o1 among them, as requests of one step.

    One request per entry of ``Case.true_objects``, in file order, a label that is listed twice written twice, as in
    the released `experiments/evaluate_MLE.py`. What is asked, and in which states, stays the same.
    """
    first, (back,) = program.steps
    together = tuple(dataclasses.replace(back, target_new=label) for label in case.true_objects)
    return dataclasses.replace(program, steps=(first, together))


COMPILERS: MappingProxyType[Kind, Callable[[Case], Program]] = MappingProxyType(
    {
        "reverse": compile_reverse,
        "composite": compile_composite,
        "coverage": compile_coverage,
        "round": compile_round,
    }
)


def _conflict_probes(case: Case, implied: Fact | None) -> tuple[Probe, ...]:
    first, second = case.edits
    probes = _probes(case, "old", first.after, ("1", "12"))
    if first.object not in ("", first.new_object):  # the published files write some objects over themselves
        probes += _probes(case, "replaced", first.before, ("1",))
    probes += _probes(case, "new_exp", second.after, ("12",))
    if implied is not None:
        probes += _probes(case, "new_imp", implied, ("12",))
    return probes


def _probes(case: Case, name: str, fact: Fact, states: tuple[str, ...]) -> tuple[Probe, ...]:
    prompts = case.questions(fact)
    return tuple(Probe(fact=name, state=state, prompts=prompts, target=fact.object) for state in states)


def _program(case: Case, edits: tuple[Edit, ...], probes: tuple[Probe, ...]) -> Program:
    needed = {probe.state for probe in probes}
    return Program(
        case_id=case.id,
        steps=tuple((_request(case, edit),) for edit in edits),
        states=tuple(State(name, steps) for name, steps in STATES.items() if name in needed),
        probes=probes,
        held=tuple(
            HeldQuestion(
                prompt=fill(case.relation(held.fact.relation).prompt, held.fact.subject),
                object=held.fact.object,
                candidates=held.candidates,
            )
            for held in case.held
        ),
    )


def _request(case: Case, edit: Edit) -> EditRequest:
    return EditRequest(
        prompt=case.relation(edit.relation).prompt,
        subject=edit.subject,
        target_new=edit.new_object,
        target_true=edit.object,
        relation=edit.relation,
    )
