"""Items and their ids: the same everywhere, selected as pytest users expect."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from plugin_helpers import case_ids

import pytest_editpitfalls

R3 = ("--pitfalls-suite=reverse", "--pitfalls-limit=3")


def reverse_ids(limit: int = 3) -> list[str]:
    return [f"pitfalls/reverse.py::test_reverse[rome-smollm2-135m-{name}]" for name in case_ids("reverse", limit)]


def test_an_item_per_case(project):
    assert project.ids(*R3) == reverse_ids()


@pytest.fixture
def own_tests(project):
    """A repository with tests of its own below testpaths."""
    project.pytester.makeini("[pytest]\ntestpaths = tests\n")
    (project.path / "tests").mkdir()
    (project.path / "tests" / "test_mine.py").write_text("def test_mine(): pass\n")
    return project


def test_without_a_path_the_shipped_suites_run_instead_of_testpaths(own_tests):
    ids = own_tests.ids("--pitfalls-limit=1")
    assert [name.partition("::")[0] for name in ids] == [
        f"pitfalls/{suite}.py" for suite in ("reverse", "composite", "coverage", "easy", "hard")
    ]
    line = "pitfalls: the suites run instead of testpaths; for both: pytest tests --pitfalls-suite=default"
    own_tests.run("--collect-only", *R3).stdout.fnmatch_lines([line])
    own_tests.run("--collect-only", *R3, "-q").stdout.fnmatch_lines([line])
    assert own_tests.ids("tests") == ["tests/test_mine.py::test_mine"]
    assert own_tests.ids("tests", *R3) == ["tests/test_mine.py::test_mine", *reverse_ids()]


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
@pytest.mark.parametrize("place", ["addopts", "PYTEST_ADDOPTS"])
@pytest.mark.parametrize("testpaths", [True, False], ids=["testpaths", "directory"])
def test_an_editor_that_nobody_typed_takes_no_tests_away(own_tests, monkeypatch, workers, place, testpaths):
    ini = ["[pytest]", "pitfalls_suites = reverse", "pitfalls_limit = 3", *["testpaths = tests"] * testpaths]
    if place == "addopts":
        ini.append("addopts = --editor=rome")
    else:
        monkeypatch.setenv("PYTEST_ADDOPTS", "--pitfalls-editor=rome")
    own_tests.pytester.makeini("\n".join(ini))
    result = own_tests.run(*workers, editor=False)
    result.assert_outcomes(passed=4)
    place = "testpaths (tests)" if testpaths else "the tests found here"
    result.stdout.fnmatch_lines([f"pitfalls: the editor comes from addopts: the suites run beside {place}"])
    assert len([line for line in result.outlines if "comes from addopts" in line]) == 1
    own_tests.run("tests", *workers, editor=False).assert_outcomes(passed=1)
    own_tests.run("--pitfalls-suite=reverse", *workers, editor=False).assert_outcomes(passed=3)
    own_tests.run(f"{reverse_ids()[0]}", *workers, editor=False).assert_outcomes(passed=1)


def test_an_editor_that_no_test_asks_for(own_tests):
    """A path without marked tests: what the editor would have broken is not known."""
    result = own_tests.run("tests")
    assert result.ret == pytest.ExitCode.OK
    line = "pitfalls: no case ran: no selected test asks for one; --pitfalls-suite=default adds the suites"
    result.stdout.fnmatch_lines([line])
    own_tests.run("tests", "-q").stdout.fnmatch_lines([line])
    own_tests.run("tests", *R3).stdout.no_fnmatch_line("*no case ran*")
    own_tests.run("tests", "--collect-only").stdout.no_fnmatch_line("*no case ran*")


def test_suites_of_ini(project):
    project.pytester.makeini("[pytest]\npitfalls_suites = easy coverage\npitfalls_limit = 2\n")
    ids = project.ids()
    assert [name.partition("::")[0] for name in ids] == ["pitfalls/easy.py"] * 2 + ["pitfalls/coverage.py"] * 2


def test_groups(project):
    suites = {name.partition("::")[0] for name in project.ids("--pitfalls-suite=conflict", "--pitfalls-limit=1")}
    assert suites == {"pitfalls/reverse.py", "pitfalls/composite.py", "pitfalls/coverage.py"}


def test_user_settings_do_not_matter(project, monkeypatch):
    project.pytester.makeini("[pytest]\npython_functions = check_*\npython_files = spec_*.py\naddopts = --ignore=.\n")
    (project.path / "test_reverse.py").write_text("def test_reverse(): pass\n")
    (project.path / "reverse.py").write_text("raise SystemExit('not this one')\n")
    below = project.path / "deep" / "below"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert project.ids(*R3) == reverse_ids()


def test_ids_do_not_depend_on_the_rootdir(project, tmp_path_factory, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert project.ids(*R3, "--rootdir=/") == reverse_ids()


def test_a_case_by_its_node_id(project):
    first, second, _ = reverse_ids()
    result = project.run(second, "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*{second.partition('[')[2]} PASSED*"])
    assert project.ids(first, second) == [first, second]
    assert len(project.ids("pitfalls/reverse.py", "--pitfalls-limit=5")) == 5
    assert project.ids("pitfalls/reverse.py::test_reverse", "--pitfalls-limit=3") == reverse_ids()


def test_a_node_id_as_pytest_prints_it_from_a_subdirectory(project, monkeypatch):
    project.pytester.makeini("[pytest]\n")
    (project.path / "below").mkdir()
    monkeypatch.chdir(project.path / "below")
    assert project.ids(f"../{reverse_ids()[0]}") == reverse_ids()[:1]


def test_node_id_selects_within_the_suite_that_is_asked_for(project):
    first = reverse_ids()[0]
    ids = project.ids(first, "--pitfalls-suite=reverse", "--pitfalls-suite=easy", "--pitfalls-limit=3")
    assert ids[0] == first
    assert [name.partition("::")[0] for name in ids[1:]] == ["pitfalls/easy.py"] * 3


def test_unknown_node_ids_are_usage_errors(project):
    result = project.run("pitfalls/reverse.py::test_reverse[rome-smollm2-135m-P0-1]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no case matches 'pitfalls/reverse.py::test_reverse*P0-1*"])
    result = project.run("pitfalls/revers.py::test_revers[x]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*no suite is called 'revers'*", "*did you mean 'reverse'*"])


def test_a_file_of_the_users_of_that_name_wins(project):
    (project.path / "pitfalls").mkdir()
    (project.path / "pitfalls" / "reverse.py").write_text("def test_reverse(): pass\n")
    assert project.ids("pitfalls/reverse.py") == ["pitfalls/reverse.py::test_reverse"]
    project.engine(lose=case_ids("reverse", 1))
    result = project.run("--pitfalls-suite=reverse", "--pitfalls-limit=1")
    (name,) = case_ids("reverse", 1)
    result.stdout.fnmatch_lines(["rerun:", f"  pytest -k {name} --pitfalls-suite=reverse --editor=rome"])
    assert len(project.ids("-k", name, "--pitfalls-suite=reverse")) == 1


def test_selection_options(project):
    first, second, third = reverse_ids()
    assert project.ids(*R3, "--deselect", second) == [first, third]
    assert project.ids(*R3, "-k", case_ids("reverse", 3)[2]) == [third]
    assert project.ids(*R3, "-m", "pitfalls") == [first, second, third]
    assert project.ids(*R3, "-m", "not pitfalls") == []


def test_stop_at_the_first_failure_and_last_failed(project):
    cases = case_ids("reverse", 3)
    project.engine(lose=[cases[1]])
    (project.path / "test_mine.py").write_text("def test_mine(): assert 0\n")
    run = partial(project.pytester.runpytest_inprocess, "-p", "no:randomly")
    run("--editor=rome", *R3, "-x").assert_outcomes(passed=1, failed=1)
    run("--editor=rome", *R3, "test_mine.py").assert_outcomes(passed=2, failed=2)
    result = run("--editor=rome", *R3, "test_mine.py", "--lf")
    result.assert_outcomes(failed=2, deselected=2)
    result = run("--editor=rome", *R3, "--lf")
    result.assert_outcomes(failed=1, deselected=2)
    run("--editor=rome", *R3, "--nf").assert_outcomes(passed=2, failed=1)
    run("--editor=rome", *R3, "--sw").assert_outcomes(passed=1, failed=1)


def test_cross_product_keeps_a_model_together(project):
    ids = project.ids("--model=gpt2", "--model=org/My_Model", "--pitfalls-limit=1", "--pitfalls-suite=conflict")
    models = [name.partition("rome-")[2].rpartition("-P")[0] for name in ids]
    assert models == sorted(models, key=["gpt2", "My_Model"].index)
    assert len(ids) == 6


def test_collect_only_opens_nothing(project):
    result = project.run("--collect-only", *R3)
    assert result.ret == 0
    assert project.calls("open") == []


def test_a_published_file_by_its_path(project, shared_data):
    file = shared_data / "GPT2-XL" / "easy.json"
    ids = project.ids(f"--pitfalls-suite={file}", "--pitfalls-limit=2")
    assert len(ids) == 2
    assert all(name.startswith("pitfalls/easy.py::test_easy[rome-smollm2-135m-") for name in ids)
    project.engine(lose=[ids[0].rpartition("135m-")[2].removesuffix("]")])
    result = project.run(f"--pitfalls-suite={file}", "--pitfalls-limit=2")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"  pytest '{ids[0]}' --pitfalls-suite={file} --editor=rome"])
    result = project.run(f"--pitfalls-suite={file}", "--pitfalls-limit=2", "--model=gpt2-xl")
    result.stdout.fnmatch_lines(["*(gpt2-xl)*99.8*", "*published by Li et al.*"])
    assert project.ids(ids[0], f"--pitfalls-suite={file}") == ids[:1]


def test_shipped_modules_by_their_real_path(project):
    from pytest_editpitfalls.shipped import suites_directory

    assert project.ids(str(suites_directory() / "reverse.py"), "--pitfalls-limit=3") == reverse_ids()


def test_users_own_module(project):
    (project.path / "tests").mkdir()
    (project.path / "tests" / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('reverse')\n"
        "def test_own(pitfall_outcome):\n    assert pitfall_outcome.metrics['cs_exp'] == 1\n"
    )
    result = project.run("tests", "--pitfalls-limit=2", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"tests/test_own.py::test_own*{case_ids('reverse', 2)[0]}? PASSED*"])


def test_wrong_use_of_the_marker(project):
    for marker, parameter, message in (
        ("()", "pitfall_case", "*the marker takes one suite*"),
        ("('revers')", "pitfall_case", "*unknown suite 'revers'*"),
        ("('reverse')", "tmp_path", "*asks for no case*"),
    ):
        (project.path / "test_own.py").write_text(
            f"import pytest\n@pytest.mark.pitfalls{marker}\ndef test_own({parameter}): pass\n"
        )
        result = project.run("test_own.py")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines([message])
        result.stdout.no_fnmatch_line("*Traceback*")


def test_ids_from_an_installed_copy_inside_the_rootdir(project, monkeypatch):
    """The layout of a wheel in a virtual environment inside the user's repository."""
    package = Path(pytest_editpitfalls.__file__).parent
    site = project.path / ".venv" / "lib" / "site-packages"
    skip = shutil.ignore_patterns("__pycache__", "_suites")
    shutil.copytree(package, site / "pytest_editpitfalls", ignore=skip)
    from pytest_editpitfalls.shipped import suites_directory

    shutil.copytree(suites_directory(), site / "pytest_editpitfalls" / "_suites", ignore=skip)
    project.pytester.makeini("[pytest]\npython_functions = check_*\n")
    (project.path / "conftest.py").unlink()
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "pytest_editpitfalls.plugin", "-p", "no:cacheprovider"),
            *("--editor=rome", *R3, "--collect-only", "-q"),
        ],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert [line for line in done.stdout.splitlines() if "::" in line] == reverse_ids(), done.stdout + done.stderr
