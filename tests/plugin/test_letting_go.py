"""A run lets a case's data go when its last item is over: memory must not grow with thousands of cases."""

from __future__ import annotations

import json

import pytest

LOOK = """
import json, pytest

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    from pytest_editpitfalls.session.item_report import ITEM_REPORT
    hooks = session.config.pluginmanager.get_plugin("editpitfalls-run")
    runner = hooks.session.runner
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    reports = [each for kind in reporter.stats.values() for each in kind]
    open("held.json", "w").write(json.dumps({
        "scores": len(runner._scores), "metrics": len(runner._metrics), "keys": len(hooks.session.cache._keys),
        "stashed": sum(ITEM_REPORT in item.stash for item in session.items),
        "carried": sum(hasattr(report, "pitfall") for report in reports),
        "unpacked": sum("probes" in vars(each.record) for each in hooks.recorder.reports.values()),
        "reports": len(hooks.recorder.reports),
    }))
"""

TWICE = """
import pytest
from _pytest.runner import runtestprotocol

@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session):
    yield
    for item in session.items[:2]:
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
    return True
"""


@pytest.mark.parametrize("stored", [(), ("stored",)])
def test_nothing_of_a_case_is_held_but_its_packed_record(project, stored):
    project.engine(LOOK)
    for _ in range(2):  # the second time from the store
        project.run("--pitfalls-suite=reverse", "--pitfalls-limit=6", *stored).assert_outcomes(passed=6)
        held = json.loads((project.path / "held.json").read_text())
        assert held.pop("reports") == 6
        assert set(held.values()) == {0}, held


def test_scores_stay_until_the_last_test_of_their_case(project):
    (project.path / "test_two.py").write_text(
        "import pytest\n"
        "@pytest.mark.pitfalls('reverse')\n"
        "def test_a(pitfall_outcome): assert pitfall_outcome.metrics['es'] is not None\n"
        "@pytest.mark.pitfalls('reverse')\n"
        "def test_b(pitfall_outcome): assert pitfall_outcome.metrics['es'] is not None\n"
    )
    project.run("--pitfalls-limit=4", "test_two.py").assert_outcomes(passed=8)
    ran = [json.loads(line) for line in (project.path / "calls.jsonl").read_text().splitlines()]
    assert sum(len(each["run"]) for each in ran if "run" in each) == 4


@pytest.mark.parametrize("stored", [(), ("stored",)])
def test_a_case_that_is_asked_again_afterwards_has_its_scores(project, stored):
    """Plugins that repeat failed tests at the end do so."""
    project.engine(TWICE)
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=6", *stored).assert_outcomes(passed=8)
