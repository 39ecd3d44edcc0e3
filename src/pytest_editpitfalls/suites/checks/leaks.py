"""Prompts and subjects that give an object away."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from pytest_editpitfalls.cases.case import fill
from pytest_editpitfalls.cases.leaks import leaks
from pytest_editpitfalls.suites.checking import Asked, Check, Finding, Level, Material, asked_of, cases_of, finding_of


def run(material: Material) -> Iterator[Finding]:
    """Give objects that share words or first letters with their subject or prompts, or with what they replace."""
    for _, case in cases_of(material):
        said = set()
        for asked in asked_of(case):
            for level, what in _of_fact(asked):
                if what not in said:
                    said.add(what)
                    yield finding_of(case, level, what, _FIX)
        for edit in case.edits:
            shared = leaks(edit.object, edit.new_object)
            if shared and edit.object != edit.new_object:
                what = f"'{edit.new_object}' and what it replaces, '{edit.object}', are alike: {shared[0]}"
                yield finding_of(case, "note", what, "choose an object that shares neither words nor first letters")


_FIX = "a model may copy letters instead of recalling a fact: choose another object, subject or prompt"


def _of_fact(asked: Asked) -> Iterator[tuple[Level, str]]:
    if shared := leaks(asked.subject, asked.object):
        yield "warning", f"the subject '{asked.subject}' gives '{asked.object}' away: {shared[0]}"
    templates = [template for template in asked.templates if template]
    giving = [(template, found[0]) for template in templates if (found := _frame_leaks(template, asked.object))]
    if giving:
        template, leak = giving[0]
        yield (
            "warning",
            f"{len(giving)} of {len(templates)} prompts of {asked.relation} give '{asked.object}' away: "
            f"{leak} ('{template}')",
        )


@lru_cache(maxsize=1 << 18)
def _frame_leaks(template: str, label: str) -> tuple[object, ...]:
    """What a prompt gives away without its subject."""
    return leaks(fill(template, " "), label)


CHECK = Check("leaks", "subjects and prompts that share words or first letters with an object", run, order=4)
