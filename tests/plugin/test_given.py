"""What is given and has no effect: a mistake where it was typed, a line on the screen where it stands in a file."""

from __future__ import annotations

import subprocess
import sys

import pytest
from plugin_helpers import case_ids

R1 = ("--pitfalls-suite=reverse", "--pitfalls-limit=1")
NO_EDITOR = "no editor is given: nothing would be edited, measured or judged"
LINE = "pitfalls: no editor is given: without effect here: "
GATES = "[pytest]\npitfalls_gates = reverse.cs_exp >= 0.9\npitfalls_limit = 3\n"


@pytest.fixture
def own(project):
    """A project with a test of its own."""
    (project.path / "test_mine.py").write_text("def test_mine(): pass\n")
    return project


def lines_of(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("pitfalls: ")]


@pytest.mark.parametrize(
    "typed",
    [
        ("--pitfalls-gate=reverse.cs_exp >= 0.9",),
        ("--pitfalls-gate", "reverse.cs_exp >= 0.9"),
        ("--pitfalls-strict",),
        ("--pitfalls-json=out.json",),
        ("--pitfalls-replay", "-n2"),
        ("--pitfalls-suite=reverse", "--collect-only"),
        ("--model=gpt2",),
        ("-o", "pitfalls_limit=3"),
    ],
    ids=" ".join,
)
def test_typed_without_an_editor(own, typed):
    result = own.run(*typed, editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = " ".join(typed).partition("=")[0] if typed[0] == "-o" else typed[0].partition("=")[0]
    result.stderr.fnmatch_lines([f"ERROR: {name}: {NO_EDITOR}", "  fix: add --editor=NAME*"])
    result.stdout.no_fnmatch_line("*passed*")


def test_all_that_was_typed_is_named(own):
    result = own.run("--model=gpt2", "--pitfalls-fail-on=*.succ:0", "--pitfalls-baseline=main", editor=False)
    result.stderr.fnmatch_lines([f"ERROR: --model, --pitfalls-baseline, --pitfalls-fail-on: {NO_EDITOR}"])


def test_a_conftest_that_owns_editor(own):
    """``--editor`` went to the conftest, so that ours never saw one."""
    own.engine(extra="def pytest_addoption(parser):\n    parser.addoption('--editor')\n")
    assert own.run("--editor=vim", editor=False).ret == pytest.ExitCode.OK
    result = own.run("--editor=rome", "--pitfalls-limit=3", editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: --pitfalls-limit: {NO_EDITOR}", "  fix: --editor belongs to another*with --pitfalls-editor"]
    )


@pytest.mark.parametrize("options", [(), ("-n2",), ("-q",), ("--no-header",), ("--collect-only",)], ids=" ".join)
def test_what_a_file_has_is_named_once(own, options):
    own.pytester.makeini(GATES)
    result = own.run(*options, editor=False)
    assert result.ret == pytest.ExitCode.OK
    assert lines_of(result) == [f"{LINE}pitfalls_gates, pitfalls_limit; --editor=NAME makes use of them"]


def test_what_addopts_has_is_named_once(own, monkeypatch):
    own.pytester.makeini("[pytest]\naddopts = --pitfalls-json=out.json\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--pitfalls-seed=3")
    result = own.run(editor=False)
    assert result.ret == pytest.ExitCode.OK
    words = "--pitfalls-seed (addopts), --pitfalls-json (addopts)"
    assert lines_of(result) == [f"{LINE}{words}; --editor=NAME makes use of them"]
    typed = own.run("--pitfalls-limit=3", editor=False)
    typed.stderr.fnmatch_lines([f"ERROR: --pitfalls-limit: {NO_EDITOR}"])
    assert own.run("--editor=rome", *R1, editor=False).ret == pytest.ExitCode.OK


def test_without_a_terminal_the_line_goes_to_the_other_stream(own):
    own.pytester.makeini(GATES)
    result = own.run("-p", "no:terminal", editor=False)
    assert result.ret == pytest.ExitCode.OK
    result.stderr.fnmatch_lines([f"{LINE}pitfalls_gates*"])


@pytest.mark.parametrize("shows", ["--help", "--version", "--markers", "--fixtures", "--fixtures-per-test"])
def test_what_is_no_run_needs_no_editor(own, shows):
    own.pytester.makeini(GATES)
    result = own.run(shows, "--pitfalls-limit=3", editor=False)
    assert result.ret == pytest.ExitCode.OK
    assert NO_EDITOR not in result.stderr.str()


@pytest.mark.parametrize("shows", ["--help", "--version", "--markers"])
def test_help_does_not_mind_what_is_wrong(own, shows):
    assert own.run(shows, "--pitfalls-limit=many").ret == pytest.ExitCode.OK


def test_without_the_plugin_pytest_refuses_the_option(own):
    options = ["-m", "pytest", "-p", "no:editpitfalls", "-p", "no:cacheprovider", "--pitfalls-limit=3"]
    done = subprocess.run([sys.executable, *options], cwd=own.path, capture_output=True, text=True, timeout=60)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --pitfalls-limit=3" in done.stderr


def test_a_key_that_pytest_would_only_warn_of(own):
    own.pytester.makeini("[pytest]\npitfalls_gate = reverse.cs_exp >= 0.9\n")
    result = own.run(*R1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: *tox.ini, pitfalls_gate: there is no such key", "  fix: did you mean 'pitfalls_gates'?*"]
    )


def test_hyper_parameters_that_were_typed_for_an_editor_that_is_not_run(own):
    result = own.run("--editor=ft", "--pitfalls-set=memit.v_lr=0.1", "--pitfalls-set=rome.v_lr=0.1", *R1)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --pitfalls-set: 'memit' is not run",
            "  fix: this run has 'ft', 'rome': correct the name, or add --pitfalls-editor=memit",
        ]
    )
    assert own.run("--editor=memit+mle", "--pitfalls-set=memit.v_lr=0.1", *R1).ret == pytest.ExitCode.OK


@pytest.mark.parametrize("quiet", [(), ("-q",), ("-n2",)], ids=" ".join)
def test_hyper_parameters_in_files_for_an_editor_that_is_not_run(own, quiet):
    cases = case_ids("reverse", 1)
    own.engine(lose=cases)
    (own.path / "c.toml").write_text("[rome]\nkl_factor = 0\n[ft]\nlr = 0.1\n[memit]\nv_lr = 0.1\n")
    own.pytester.makeini(
        "[pytest]\naddopts = --pitfalls-set=pmet.v_lr=0.1\npitfalls_config = c.toml\npitfalls_set = ft.lr=0.1\n"
    )
    result = own.run("--pitfalls-set=rome.v_lr=0.3", *R1, *quiet)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    line = (
        "hyper-parameters of editors that are not run: 'ft', 'pmet' (pitfalls_set or addopts); 'ft', 'memit' (*c.toml)"
    )
    assert len([line for line in lines_of(result) if "not run" in line]) == 1
    result.stdout.fnmatch_lines([f"pitfalls: {line}"])
    result.stdout.fnmatch_lines(["*pytest *--pitfalls-set=rome.v_lr=0.3*"])
    result.stdout.no_fnmatch_line("*pytest *--pitfalls-set=ft.lr=0.1*")  # it would be refused
