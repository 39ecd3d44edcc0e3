"""Causes of errors: kept only where somebody will see them, and shown with their own case."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from pytest_editpitfalls.causes import Causes
from pytest_editpitfalls.program import SuitePrograms, cause_id


class Big:
    """Stands for what an editor made: a copy of the model."""


def raised(text: str) -> tuple[ValueError, weakref.ref[Big]]:
    made = []

    def fails() -> None:
        big = Big()
        made.append(weakref.ref(big))
        try:
            raise KeyError
        except KeyError:
            raise ValueError(text) from None

    try:
        fails()
    except ValueError as error:
        return error, made[0]
    raise AssertionError


@pytest.mark.parametrize(("wanted", "alive"), [("nothing", 0), ("lines", 0), ("variables", 1)])
def test_at_most_one_has_its_variables(wanted: Any, alive: int) -> None:
    causes, made = Causes(), []
    causes.start(wanted)
    with causes.of_batch() as found:
        for name in "abc":
            error, big = raised(name)
            made.append(big)
            causes.keep(name, f"edit 1: {name}", error)
            del error
    for name in "abc":
        causes.assign(name, found, name, f"editor 'e', edit 1: {name}")
    gc.collect()
    assert [big() is not None for big in made] == [bool(alive), False, False]
    taken = [causes.take(name) for name in "abc"]
    assert [str(cause) for cause in taken] == (["None"] * 3 if wanted == "nothing" else ["a", "b", "c"])
    assert causes.take("a") is None  # each is shown once
    del taken, found
    gc.collect()
    assert not any(big() for big in made)


def test_a_debugger_s_one_goes_with_the_next_batch() -> None:
    causes = Causes()
    causes.start("variables")
    error, first = raised("a")
    with causes.of_batch() as found:
        causes.keep("a", "edit 1: a", error)
    causes.assign("a", found, "a", "editor 'e', edit 1: a")
    del error, found
    gc.collect()
    assert first() is not None
    error, second = raised("b")
    with causes.of_batch():
        causes.keep("b", "edit 1: b", error)
    del error
    gc.collect()
    assert first() is None
    assert second() is not None


def test_a_case_gets_its_own() -> None:
    causes = Causes()
    causes.start("lines")
    with causes.of_batch() as found:
        for name, text in (("a", "KeyError: 1"), ("b", "KeyError: 12"), ("c", "KeyError: 1")):
            causes.keep(name, f"edit 1: {text}", raised(name)[0])
    for name, text in (("a", "edit 1: KeyError: 1"), ("b", "edit 1: KeyError: 12"), ("c", "edit 2: KeyError: 1")):
        causes.assign(name, found, name, f"editor 'e', {text}")
    assert [str(causes.take(name)) for name in "bac"] == ["b", "a", "None"]
    causes.keep("d", "edit 1: d", ValueError())  # outside of a batch
    assert causes.take("d") is None


def test_cases_of_two_suites_may_have_one_name() -> None:
    causes = Causes()
    causes.start("lines")
    suites = [SuitePrograms(name, list) for name in ("reverse", "coverage")]
    errors = [ValueError("one"), ValueError("two")]
    with causes.of_batch() as found:
        for suite, error in zip(suites, errors, strict=True):
            causes.keep(cause_id(suite, "P36-0001"), "edit 1: it failed", error)
    for suite in suites:
        causes.assign(suite.name, found, cause_id(suite, "P36-0001"), "editor 'rome', edit 1: it failed")
    assert [causes.take(suite.name) for suite in suites] == errors
