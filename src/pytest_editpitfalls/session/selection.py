"""Which suites run, and which of their items: command-line arguments sorted into ours and pytest's.

An item of a suite has the same node id everywhere, ``pitfalls/<suite>.py::test_<suite>[<id>]``. No such file
exists, so arguments of this form are taken out of pytest's own before it looks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import absolute, is_there, plain_name
from pytest_editpitfalls.options.config import RunConfig
from pytest_editpitfalls.options.defaults import PROPERTIES
from pytest_editpitfalls.options.given import typed_options
from pytest_editpitfalls.options.node_ids import is_suite_module, path_of_node
from pytest_editpitfalls.shipped import suites_directory
from pytest_editpitfalls.suites.discovery import shipped_suites
from pytest_editpitfalls.suites.suite import Suite, load_suite, load_suites, long_name, renamed


@dataclass(frozen=True, slots=True)
class Target:
    """One ``pitfalls/...`` argument: a suite, and a part of it where one is named.

    Attributes:
        function: name of the test function, or None for all.
        case: what stands between the brackets, or None for all.
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


@dataclass(frozen=True, slots=True)
class Selection:
    """What is collected beside pytest's own arguments.

    Attributes:
        suites: the suites to collect, in order.
        targets: for suites that are not collected whole, the parts that are: suite name -> targets.
        paths: the arguments left to pytest.
        added: that the suites come on top of what nobody had to type; otherwise None.
        left_out: that testpaths does not run; otherwise None.
        remarks: what there is to know about the user's own edits.
        properties: whether properties of editors are looked at.
    """

    suites: tuple[Suite, ...]
    paths: tuple[str, ...]
    targets: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    added: str | None = None
    left_out: str | None = None
    remarks: tuple[str, ...] = ()
    properties: bool = False


def select(config: pytest.Config, run: RunConfig) -> Selection:
    """Decide what is collected; raises `UsageError` for an unknown or broken suite.

    With a path, pytest's arguments run (and what ``--pitfalls-suite`` names). Without one, the suites run: instead of
    testpaths where this run was asked for them, otherwise (the editor comes from ``addopts``) beside them.
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
    added = left_out = None
    asked_here = {"pitfalls_editor", "pitfalls_edited", "pitfalls_suite", "pitfalls_edits"}
    if not typed and typed_options(config).keys() & asked_here:
        left_out = _left_out(config)
    elif not typed:
        paths += config.args
        added = _added(config)
    wanted = load_suites(run.suites) if run.suites_asked or not typed else ()
    edits, remarks = _own_edits(run, wanted) if _wants_edits(run, typed, targets) else ((), ())
    wanted = (*edits, *wanted)
    # a rerun names the suite as its run did, beside another of its name; alone it has its short name
    asked = {suite.name for suite in wanted}
    wanted = tuple(
        renamed(suite, long)
        if (long := long_name(suite)) in targets and long not in asked and suite.name not in targets
        else suite
        for suite in wanted
    )
    properties = (run.properties.wanted and (run.suites_asked or not typed)) or PROPERTIES in targets
    if properties:
        wanted = tuple(renamed(each, long_name(each)) if each.name == PROPERTIES else each for each in wanted)
    known = {suite.name: suite for suite in wanted}
    if missing := [name for name in targets if name not in known and name != PROPERTIES]:
        known.update(_find(missing, targets, run))
    suites = {suite.name: suite for suite in wanted} | {name: known[name] for name in targets if name != PROPERTIES}
    order = [name for name in known if name in suites]
    return Selection(
        tuple(suites[name] for name in order),
        tuple(paths),
        {name: tuple(found) for name, found in targets.items()},
        added,
        left_out,
        remarks,
        properties,
    )


def _wants_edits(run: RunConfig, typed: Sequence[str], targets: Mapping[str, list[Target]]) -> bool:
    """Whether the user's own edits run: asked for, as what runs without a path, or named by a node id."""
    if run.edits is None:
        return False
    name = plain_name(run.edits.path.stem)
    return run.edits.asked or not typed or any(target == name or target.endswith(f"-{name}") for target in targets)


def _own_edits(run: RunConfig, others: Iterable[Suite]) -> tuple[tuple[Suite, ...], tuple[str, ...]]:
    """Return the suite of the user's own edits, where there are some, and what there is to know about it."""
    if run.edits is None:
        return (), ()
    from pytest_editpitfalls.edit_lists.suite import load_edit_suite

    made = load_edit_suite(
        run.edits.path,
        facts=run.edits.facts,
        relations=run.edits.relations,
        rules=run.edits.rules,
        together=run.edits.together,
    )
    suite = made.suite
    if any(suite.name == other.name for other in others):
        suite = renamed(suite, long_name(suite))
    return (suite,), made.notices


def _added(config: pytest.Config) -> str:
    has_testpaths = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    own = f"testpaths ({' '.join(config.args)})" if has_testpaths else "the tests found here"
    return f"the editor comes from addopts: the suites run beside {own}"


def _left_out(config: pytest.Config) -> str | None:
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return None
    return f"the suites run instead of testpaths; for both: pytest {' '.join(config.args)} --pitfalls-suite=default"


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


def parse_target(argument: str, here: Path) -> Target | None:
    """Return the suite item that ``argument`` names, or None when it is a path for pytest.

    A file that really exists wins.
    """
    return _split(argument)[1] if is_suite_module(argument, here) else None


def _shipped_module(argument: str, here: Path) -> Target | None:
    """Read the real path of a shipped suite's test module (``suites/reverse.py``) as its node id."""
    path, target = _split(argument)
    path = here / path
    ships = path.suffix == ".py" and path.stem in shipped_suites() and is_there(path, argument)
    return target if ships and absolute(path).parent == suites_directory() else None


def _split(argument: str) -> tuple[Path, Target]:
    """Return the path of a node id, and what it names if that is the module of a suite."""
    base, bracket, rest = argument.partition("[")
    _, *names = base.split("::")
    path = path_of_node(argument)
    case = rest.removesuffix("]") if bracket else None
    return path, Target(path.stem, names[0] if names else None, case, argument)


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
