"""Node ids of suites: ``pitfalls/reverse.py::test_reverse[rome-gpt2-xl-P36-0001]``; no such file exists."""

from __future__ import annotations

from pathlib import Path

from pytest_editpitfalls.files import is_there

from .defaults import NODE_FOLDER


def path_of_node(argument: str) -> Path:
    """Return the path of a node id, without test and case."""
    return Path(argument.partition("[")[0].split("::")[0])


def is_suite_module(argument: str, here: Path) -> bool:
    """Whether an argument of pytest names the module of a suite; a file that really exists is none.

    ``../pitfalls/x.py`` counts too: pytest prints node ids relative to the working directory.

    Raises:
        UsageError: whether there is such a file cannot be found out.
    """
    path = path_of_node(argument)
    return path.suffix == ".py" and path.parent.name == NODE_FOLDER and not is_there(here / path, argument)
