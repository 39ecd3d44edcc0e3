"""Node ids of suites on the command line: ``pitfalls/<suite>.py::test_<suite>[<case>]``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.defaults import NODE_FOLDER


@dataclass(frozen=True, slots=True)
class Target:
    """One ``pitfalls/...`` argument: a suite, and a part of it where one is named.

    Attributes:
        suite: name of the suite.
        function: name of the test function, or None for all.
        case: what stands between the brackets, or None for all.
        argument: the argument as typed.
    """

    suite: str
    function: str | None
    case: str | None
    argument: str

    def covers(self, function: str, name: str) -> bool:
        """Whether an item with this function and full name (``function[case]``) is meant."""
        if self.function is None:
            return True
        return name == f"{self.function}[{self.case}]" if self.case is not None else function == self.function


def parse_target(argument: str, here: Path) -> Target | None:
    """Return the suite item that ``argument`` names, or None when it is a path for pytest.

    A file that really exists wins. ``../pitfalls/x.py`` counts too: pytest prints node ids relative to the working
    directory.
    """
    base, bracket, rest = argument.partition("[")
    text, *names = base.split("::")
    path = Path(text)
    if path.suffix != ".py" or path.parent.name != NODE_FOLDER or (here / path).exists():
        return None
    case = rest.removesuffix("]") if bracket else None
    return Target(path.stem, names[0] if names else None, case, argument)


def check_targets(targets: Iterable[Target], items: Iterable[tuple[str, str]]) -> None:
    """Raise `UsageError` for a target that names no item; ``items`` are (function, full name) pairs."""
    collected = list(items)
    for target in targets:
        if not any(target.covers(function, name) for function, name in collected):
            raise UsageError(
                f"no case matches '{target.argument}'",
                where=f"suite '{target.suite}'",
                fix="check the id with --collect-only -q, and that --pitfalls-editor, --pitfalls-model and "
                "--pitfalls-limit are those of the run it comes from",
            )
