"""Which suites run, and which of their items: command-line arguments sorted into ours and pytest's.

An item of a suite has the same node id everywhere, ``pitfalls/<suite>.py::test_<suite>[<id>]``. No such file
exists, so arguments of this form are taken out of pytest's own before it looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.suites.discovery import shipped_suites, suites_directory
from pytest_editpitfalls.suites.suite import Suite, load_suite, load_suites, long_name, renamed

from .targets import Target, parse_target


@dataclass(frozen=True, slots=True)
class Selection:
    """What is collected beside pytest's own arguments.

    Attributes:
        suites: the suites to collect, in order.
        targets: for suites that are not collected whole, the parts that are: suite name -> targets.
        paths: the arguments left to pytest.
    """

    suites: tuple[Suite, ...]
    paths: tuple[str, ...]
    targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)


def select(config: pytest.Config, run: RunConfig) -> Selection:
    """Decide what is collected; raises `UsageError` for an unknown or broken suite.

    With a path, pytest's arguments run (and what ``--pitfalls-suite`` names). Without one, the suites run instead
    of testpaths.
    """
    typed = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    here = config.invocation_params.dir
    targets: dict[str, list[Target]] = {}
    paths: list[str] = []
    for argument in typed:
        target = parse_target(argument, here) or _shipped_module(argument, here)
        if target is None:
            paths.append(argument)
        else:
            targets.setdefault(target.suite, []).append(target)
    wanted = load_suites(run.suites) if run.suites_asked or not typed else ()
    # a rerun names the suite as its run did, beside another of its name; alone it has its short name
    asked = {suite.name for suite in wanted}
    wanted = tuple(
        renamed(suite, long)
        if (long := long_name(suite)) in targets and long not in asked and suite.name not in targets
        else suite
        for suite in wanted
    )
    known = {suite.name: suite for suite in wanted}
    if missing := [name for name in targets if name not in known]:
        known.update(_find(missing, targets, run))
    suites = {suite.name: suite for suite in wanted} | {name: known[name] for name in targets}
    order = [name for name in known if name in suites]
    return Selection(
        tuple(suites[name] for name in order),
        tuple(paths),
        {name: tuple(found) for name, found in targets.items()},
    )


def _find(names: Iterable[str], targets: Mapping[str, list[Target]], run: RunConfig) -> dict[str, Suite]:
    """Load suites that only a node id names: those of ini first, then those that ship."""
    from_ini = {} if run.suites_asked else {suite.name: suite for suite in load_suites(run.suites)}
    found: dict[str, Suite] = {}
    for name in names:
        if name in from_ini:
            found[name] = from_ini[name]
        elif name in shipped_suites():
            found[name] = load_suite(name)
        else:
            known = [*from_ini, *shipped_suites()]
            raise UsageError(
                f"no suite is called '{name}'",
                where=targets[name][0].argument,
                fix=f"name its file with --pitfalls-suite as well; {did_you_mean(name, known)}",
            )
    return found


def _shipped_module(argument: str, here: Path) -> Target | None:
    """Read the real path of a shipped suite's test module (``suites/reverse.py``) as its node id."""
    base, bracket, rest = argument.partition("[")
    text, *names = base.split("::")
    path = here / text
    if path.suffix != ".py" or path.stem not in shipped_suites() or not path.exists():
        return None
    if path.resolve().parent != suites_directory():
        return None
    return Target(path.stem, names[0] if names else None, rest.removesuffix("]") if bracket else None, argument)
