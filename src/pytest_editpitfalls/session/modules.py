"""The collectors of suites: test modules with fixed node ids, whatever the rootdir and the user's settings."""

from __future__ import annotations

import importlib.util
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.defaults import NODE_FOLDER
from pytest_editpitfalls.suites.suite import Suite, ships

from .selection import Selection, check_targets


def placed(session: pytest.Session, name: str) -> dict[str, Any]:
    """Return path, name and node id of a collector that the plugin brings: ``pitfalls/<name>.py``."""
    node_id = f"{NODE_FOLDER}/{name}.py"
    # A path inside the rootdir, not in site-packages: hooks of the user's conftest.py reach the items.
    here, root = session.config.invocation_params.dir, session.config.rootpath
    return {"path": here if here.is_relative_to(root) else root, "name": node_id, "nodeid": node_id}


class SuiteModule(pytest.Module):
    """A suite's test module. Its node id is ``pitfalls/<suite>.py`` and it collects ``test_*``, always.

    It hangs directly under the session, so that neither the place of the file nor ``python_files``,
    ``python_functions``, ignores or the user's own ``test_reverse.py`` matter to it.
    """

    suite: Suite

    @classmethod
    def of(cls, session: pytest.Session, suite: Suite) -> SuiteModule:
        """Return the collector of ``suite``."""
        module: SuiteModule = cls.from_parent(session, **placed(session, suite.name))
        module.suite = suite
        return module

    def funcnamefilter(self, name: str) -> bool:
        """Collect ``test_*`` whatever the user's ``python_functions`` says."""
        return name.startswith("test_")

    def classnamefilter(self, name: str) -> bool:
        """Collect no classes: a suite's module has functions only."""
        return False

    def _getobj(self) -> types.ModuleType:
        file = self.suite.source.with_suffix(".py")
        if ships(self.suite) and file.is_file():
            return _load(file)
        return _generic_module(self.suite)

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Return the module's items, each placed at the module's own node id."""
        items = list(super().collect())
        lines: dict[str, int | None] = {}
        for item in items:
            if isinstance(item, pytest.Function):
                function = item.originalname
                if function not in lines:  # thousands of items share one function
                    lines[function] = item.reportinfo()[1]
                # a verbose line would otherwise point at the file's place in site-packages
                item.__dict__["location"] = (self.name, lines[function], item.name)
        return items


def is_own_test(item: pytest.Item) -> bool:
    """Whether an item is a test of the user's own, and no item of a suite."""
    return not isinstance(item.getparent(pytest.Module), SuiteModule)


def collect_suites(session: pytest.Session, selection: Selection) -> list[pytest.Item]:
    """Return the items of the selected suites, in order; raises `UsageError` where a node id matches nothing."""
    items: list[pytest.Item] = []
    for suite in selection.suites:
        module = SuiteModule.of(session, suite)
        collected = [item for item in module.collect() if isinstance(item, pytest.Item)]
        if targets := selection.targets.get(suite.name):
            named = [(getattr(item, "originalname", item.name), item) for item in collected]
            check_targets(targets, ((function, item.name) for function, item in named))
            collected = [item for function, item in named if any(t.covers(function, item.name) for t in targets)]
        items += collected
    return items


def _load(path: Path) -> types.ModuleType:
    """Import a suite's test module under a name of its own, leaving ``sys.path`` and ``sys.modules`` alone."""
    name = f"{__package__}.suite_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError("cannot be imported", where=str(path), fix="install pytest-editpitfalls again")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _generic_module(suite: Suite) -> types.ModuleType:
    """Return a module with one test that judges each case: for case files that come without a test module."""

    @pytest.mark.pitfalls(suite.name)
    def test(pitfall_case: Any, pitfall_outcome: Any) -> None:
        """Judge the case on its suite's thresholds."""
        pitfall_outcome.check()

    module = types.ModuleType(f"{__package__}.suite_{suite.name}")
    module.__file__ = str(suite.source)
    test.__name__ = test.__qualname__ = f"test_{suite.name}"
    test.__module__ = module.__name__
    setattr(module, test.__name__, test)
    return module
