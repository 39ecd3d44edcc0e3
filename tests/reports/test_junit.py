"""Properties in pytest's own JUnit file: written by pytest itself, read back from it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from report_samples import HOSTILE, results

from pytest_editpitfalls.reports.junit import case_properties, run_properties

CONFTEST = """
import sys
import pytest
sys.path.insert(0, {samples!r})
from report_samples import HOSTILE, results
from pytest_editpitfalls.reports.junit import add_run_properties, case_properties

RUN = results(2, suites=["reverse"], editors=["rome"], hostile=HOSTILE, gates=["reverse.cm >= 0.99"])

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    if call.when == "call":
        item.user_properties.extend(case_properties(RUN.cases[item.funcargs["place"]]))
    return (yield)

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        add_run_properties(session.config, RUN)
"""


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_pytest_writes_the_properties(pytester: pytest.Pytester, workers: list[str]) -> None:
    pytester.makeconftest(CONFTEST.format(samples=str(Path(__file__).parent)))
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('place', [0, 1])\ndef test_it(place): pass\n")
    done = pytester.runpytest_subprocess("--junitxml=out.xml", *workers)
    assert done.ret == 0
    tree = ET.parse(pytester.path / "out.xml")
    expected = results(2, suites=["reverse"], editors=["rome"], hostile=HOSTILE, gates=["reverse.cm >= 0.99"])
    of_cases = [
        {each.attrib["name"]: each.attrib["value"] for each in case.iter("property")} for case in tree.iter("testcase")
    ]
    assert len(of_cases) == 2
    assert {each["pitfalls.case"] for each in of_cases} == {case.id for case in expected.cases}
    for found in of_cases:
        case = next(each for each in expected.cases if each.id == found["pitfalls.case"])
        assert found["pitfalls.editor"] == "rome"
        assert found["pitfalls.held"] == ("true" if case.held else "false")
        assert float(found["pitfalls.metric.cm"]) == case.metrics["cm"]
    suite = next(tree.iter("testsuite"))
    of_run = {each.attrib["name"]: each.attrib["value"] for each in suite.findall("properties/property")}
    assert of_run["pitfalls.gate.reverse.cm >= 0.99.rome.gpt2-xl"] == "failed"
    assert float(of_run["pitfalls.mean.reverse.rome.gpt2-xl.es"]) == expected.aggregates[0].metrics["es"].value


def test_without_a_junit_file_nothing_happens(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(CONFTEST.format(samples=str(Path(__file__).parent)))
    pytester.makepyfile("import pytest\n@pytest.mark.parametrize('place', [0])\ndef test_it(place): pass\n")
    assert pytester.runpytest_subprocess().ret == 0


def test_names_are_free_of_control_characters() -> None:
    run = results(2, suites=["reverse"], editors=[HOSTILE], hostile=HOSTILE)
    for name, _ in [*run_properties(run), *case_properties(run.cases[0])]:
        assert name.isprintable()
        assert name.startswith("pitfalls.")


def test_what_is_unknown_is_left_out() -> None:
    case = results(1, suites=["reverse"], editors=["rome"]).cases[0]
    case.held, case.metrics["cm"] = None, None
    names = {name for name, _ in case_properties(case)}
    assert "pitfalls.held" not in names
    assert "pitfalls.metric.cm" not in names
    assert "pitfalls.metric.es" in names
