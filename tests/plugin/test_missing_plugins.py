"""Options of a plugin that is not there."""

from __future__ import annotations

import importlib.util

import pytest

XDIST = (
    "-n 2",
    "-n2",
    "-n auto",
    "-nauto",
    "-n=2",
    "--numprocesses=2",
    "--numprocesses 2",
    "--dist load",
    "--tx=popen",
)

ONE = ("--pitfalls-suite=reverse", "--pitfalls-limit=1")


@pytest.fixture
def _absent(monkeypatch):
    """None of the plugins is installed, as far as anybody can see."""
    find = importlib.util.find_spec
    gone = {"xdist", "pytest_timeout", "pytest_rerunfailures", "pytest_html", "pytest_jsonreport", "allure_pytest"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in gone else find(name, *rest))


def run(project, *args: str, editor: bool = True):
    off = ("xdist", "timeout", "rerunfailures", "html", "pytest_jsonreport", "allure_pytest")
    return project.run(*args, *(word for name in off for word in ("-p", f"no:{name}")), editor=editor)


@pytest.mark.usefixtures("_absent")
@pytest.mark.parametrize("typed", XDIST)
def test_it_is_said_what_to_install(project, typed):
    result = run(project, *typed.split())
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.lines[:2] == [
        f"ERROR: {typed.split()[0]}: pytest-xdist is not installed",
        "  fix: pip install pytest-xdist",
    ]


@pytest.mark.usefixtures("_absent")
@pytest.mark.parametrize(
    ("option", "package"),
    [
        ("--timeout=5", "pytest-timeout"),
        ("--reruns=2", "pytest-rerunfailures"),
        ("--html=x.html", "pytest-html"),
        ("--json-report", "pytest-json-report"),
        ("--alluredir=x", "allure-pytest"),
    ],
)
def test_others(project, option, package):
    run(project, option).stderr.fnmatch_lines([f"ERROR: {option}: {package} is not installed"])


@pytest.mark.usefixtures("_absent")
def test_options_of_ini(project):
    project.pytester.makeini("[pytest]\naddopts = -n 2\n")
    run(project).stderr.fnmatch_lines(["ERROR: -n: pytest-xdist is not installed"])


def test_one_that_is_switched_off(project):
    run(project, "-n2").stderr.fnmatch_lines(["ERROR: -n2: pytest-xdist is installed and switched off", "  fix: *"])


def test_somebody_else_s_option_of_that_name(project):
    project.engine("def pytest_addoption(parser):\n    parser.addoption('--timeout')")
    run(project, *ONE, "--timeout=soon").assert_outcomes(passed=1)


def test_without_an_editor_it_is_pytest_s_own_matter(project):
    run(project, "-n2", editor=False).stderr.fnmatch_lines(["*unrecognized arguments: -n2*"])
