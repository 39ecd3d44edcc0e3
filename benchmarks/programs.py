"""The cases that are measured, as programs: reverse cases, and some of other shipped suites."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pytest_editpitfalls.pitfalls import Case, Program, compile_case
from pytest_editpitfalls.suites import load_suite


def reverse_programs(count: int) -> list[Program]:
    """``count`` programs, no two alike, evenly spread over the suite.

    Where the suite has fewer, others are made of its entities: subject and first object of one case with the new
    objects of others under the same rule. No program asks whether the model holds a fact: the released code does not.

    Raises:
        ValueError: so many cannot be made.
    """
    cases = load_suite("reverse").cases
    chosen = _spread(cases, count) if count <= len(cases) else list(itertools.islice(_recombined(cases), count))
    if len(chosen) < count:
        raise ValueError(f"the suite gives {len(chosen)} different cases, not {count}")
    return _asked(chosen)


def programs_of(suite: str, count: int) -> list[Program]:
    """``count`` programs of a shipped suite, or as many as it has, evenly spread over it."""
    cases = load_suite(suite).cases
    return _asked(_spread(cases, min(count, len(cases))))


def _spread(cases: Sequence[Case], count: int) -> list[Case]:
    spread = [cases[index * len(cases) // count] for index in range(count)]
    return [case for start in range(4) for case in spread[start::4]]  # its first quarter is spread as well


def _asked(cases: Iterable[Case]) -> list[Program]:
    return [replace(compile_case(case), held=()) for case in cases]


def _recombined(cases: tuple[Case, ...]) -> Iterator[Case]:
    """The cases; then those whose new objects are taken from the next ones of their rule, the next but one, ..."""
    yield from cases
    groups = [[case for case in cases if case.group == rule] for rule in dict.fromkeys(c.group for c in cases)]
    for shift in range(1, max(map(len, groups))):
        for group in (each for each in groups if shift < len(each)):
            for index, case in enumerate(group):
                middle, end = group[(index + shift) % len(group)], group[(index + 2 * shift) % len(group)]
                target = end.edits[1].new_object
                if target in (case.edits[0].subject, middle.edits[0].new_object):
                    continue
                first = replace(case.edits[0], new_object=middle.edits[0].new_object)
                second = replace(case.edits[1], subject=first.new_object, new_object=target)
                changed = {"id": f"{case.id}-{shift}", "edits": (first, second)}
                yield replace(case, row=case.row.model_copy(update=changed))
