"""Hooks that a conftest.py or another plugin may implement. Each gets plain objects of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .results.records import RunResults
    from .session.outcome import Outcome


@pytest.hookspec
def pytest_pitfalls_editors(config: pytest.Config) -> dict[str, Any] | None:
    """Editors of yours by name: functions, batched editors' classes or `EditorDeclaration`s.

    Asked in every process of a run with an editor, before collection; a conftest.py must be one that pytest loads at
    its start (in the rootdir, or in a directory given on the command line). Example::

        def pytest_pitfalls_editors():
            from my_package import my_editor

            return {"mine": my_editor}
    """


@pytest.hookspec
def pytest_pitfalls_kinds(config: pytest.Config) -> list[Any] | None:
    """Kinds of pitfall of yours: subclasses of `pytest_editpitfalls.pitfalls.Pitfall` (docs/write-a-pitfall.md).

    Asked when `pytest_pitfalls_editors` is. Example::

        def pytest_pitfalls_kinds():
            from bystanders import Bystanders

            return [Bystanders]
    """


@pytest.hookspec
def pytest_pitfalls_outcome(item: pytest.Item, outcome: Outcome) -> None:
    """A case has been edited, scored and judged; its test has not run yet.

    Called in the process that runs the test (a worker, with pytest-xdist). Example, to write a property for JUnit::

        def pytest_pitfalls_outcome(item, outcome):
            item.user_properties.append(("cs_exp", outcome.metrics["cs_exp"]))
    """


@pytest.hookspec
def pytest_pitfalls_results(config: pytest.Config, results: RunResults) -> None:
    """All tests have run: ``results`` is the document that ``--pitfalls-json`` writes.

    Called once, in the process that the user started, before the file is written. Example, to print a line::

        def pytest_pitfalls_results(config, results):
            for aggregate in results.aggregates:
                print(aggregate.suite, aggregate.metrics["cs_exp"].value)
    """
