"""Where a run writes: refused before it begins, written through links, and on standard output behind everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

R3 = ("--pitfalls-suite=reverse", "--pitfalls-limit=3")
posix = pytest.mark.skipif(os.name == "nt", reason="links, pipes and devices of a POSIX system")
OUTPUTS = ("--pitfalls-json", "--pitfalls-html", "--pitfalls-markdown", "--pitfalls-save")


@posix
@pytest.mark.parametrize("option", [*OUTPUTS, "--pitfalls-store"])
def test_a_place_that_cannot_be_written_is_refused_before_the_run(project, option):
    whole = project.whole("reverse", 3)
    (project.path / "circle").symlink_to("circle")
    (project.path / "file").touch()
    (project.path / "folder.json").mkdir()
    for path, what in (
        ("./circle", "Too many levels of symbolic links"),
        ("./circle/x.json", "Too many levels of symbolic links"),
        ("file/x.json", "file"),
        ("x" * 300 + ".json", "File name too long"),
        ("absent/x.json", "does not exist"),
        ("folder.json", "is a directory"),
        ("/dev/fd/987654", "is not open for writing"),
    ):
        if option == "--pitfalls-store" and path in {"absent/x.json", "folder.json", "/dev/fd/987654"}:
            continue  # a directory, which is made if need be
        result = project.run(whole, f"{option}={path}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR, path
        result.stderr.fnmatch_lines([f"ERROR: {option}: *{what}*", "  fix: *"])
    assert not (project.path / "calls.jsonl").exists()


@posix
@pytest.mark.parametrize("option", ["--pitfalls-baseline", "--pitfalls-config", "--pitfalls-suite"])
def test_a_file_to_read_that_no_file_can_be(project, option):
    whole = project.whole("reverse", 3)
    (project.path / "circle.toml").symlink_to("circle.toml")
    for path in ("circle.toml", "circle.toml/x.toml", "x" * 300 + ".toml"):
        result = project.run(whole, f"{option}={path}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["ERROR: *", "  fix: *"])


def test_a_baseline_whose_name_is_none_is_refused_before_the_run(project):
    (project.path / "pitfalls-baselines").touch()
    for name, what in (
        ("-", "'-' is no name of a baseline"),
        ("main", "is a file, not a"),
    ):
        result = project.run(project.whole("reverse", 3), f"--pitfalls-save={name}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: --pitfalls-save: *{what}*"])
    assert not (project.path / "calls.jsonl").exists()


def test_two_things_in_one_place_are_refused_before_the_run(project):
    whole = project.whole("reverse", 3)
    project.run(whole, "--pitfalls-save=main", "--pitfalls-json=run.json")
    (project.path / "calls.jsonl").unlink()
    (project.path / "c.toml").write_text("[rome]\nv_lr = 0.1\n")
    project.pytester.makeini("[pytest]\n")
    main = "pitfalls-baselines/main.json"
    for options, where in (
        (("--pitfalls-json=x", "--pitfalls-html=./x"), "--pitfalls-json and --pitfalls-html"),
        (("--pitfalls-json=x.json", "--pitfalls-save=x.json"), "--pitfalls-json and --pitfalls-save"),
        (("--pitfalls-json=-", "--pitfalls-markdown=-"), "--pitfalls-json and --pitfalls-markdown"),
        (("--pitfalls-json=x", "--junitxml=x"), "--pitfalls-json and --junitxml"),
        (("--pitfalls-json=x", "--pitfalls-store=x"), "--pitfalls-json and --pitfalls-store"),
        (("--pitfalls-save=main", f"--pitfalls-json={main}"), "--pitfalls-json and --pitfalls-save"),
        (("--pitfalls-baseline=main", f"--pitfalls-json={main}"), "--pitfalls-json"),
        (("--pitfalls-baseline=main", "--pitfalls-save=main"), "--pitfalls-save"),
        (("--pitfalls-baseline=main", f"--pitfalls-save={main}"), "--pitfalls-save"),
        (("--pitfalls-config=c.toml", "--pitfalls-json=c.toml"), "--pitfalls-json"),
        (("--pitfalls-json=suites/reverse.toml",), "--pitfalls-json"),
        (("--pitfalls-html=tox.ini",), "--pitfalls-html"),
    ):
        result = project.run(whole, *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR, options
        result.stderr.fnmatch_lines([f"ERROR: {where}: *", "  fix: *"])
    assert not (project.path / "calls.jsonl").exists()


def test_one_place_that_may_be_named_twice(project):
    whole = project.whole("reverse", 3)
    options = ("--pitfalls-save=main", "--pitfalls-baseline=main", "--pitfalls-update-baseline")
    project.run(whole, *options).stdout.fnmatch_lines(["*baseline saved to*"])
    null = (f"--pitfalls-json={os.devnull}", f"--pitfalls-html={os.devnull}")
    assert project.run(whole, *null).ret == pytest.ExitCode.OK


@posix
def test_a_report_goes_through_a_link(project):
    (project.path / "real").mkdir()
    (project.path / "out.json").symlink_to("real/there.json")
    project.results(*R3)
    assert (project.path / "out.json").is_symlink()
    assert (project.path / "real" / "there.json").exists()


@pytest.mark.parametrize("report", ["json", "markdown", "html"])
@pytest.mark.parametrize("path", ["-", pytest.param("/dev/stdout", marks=posix)])
def test_a_report_on_standard_output_comes_last(project, report, path):
    result = project.run(*R3, f"--pitfalls-{report}={path}", "--pitfalls-json=out.json" if report != "json" else "-v")
    assert result.ret == pytest.ExitCode.OK
    text = result.stdout.str()
    end = next(line for line in result.outlines if line.startswith("====") and " 3 passed" in line)
    printed = text.partition(end)[2].lstrip("\n")
    if report == "json":
        assert len(json.loads(printed)["cases"]) == 3
    else:
        assert printed.startswith(
            {"markdown": "\N{WHITE HEAVY CHECK MARK} **Pitfalls", "html": "<!DOCTYPE html>"}[report]
        )
    assert not (project.path / "-").exists()


def test_a_report_is_all_of_standard_output_without_a_terminal_plugin(project):
    result = project.run(*R3, "--pitfalls-json=-", "-p", "no:terminal")
    assert [case["outcome"] for case in json.loads(result.stdout.str())["cases"]] == ["passed"] * 3


@posix
def test_a_reader_of_standard_output_that_is_gone(project):
    """The reason reaches the other stream, and the status says that the results are not written."""
    options = " ".join(["-p no:randomly -p no:cacheprovider -p no:terminal --editor=rome --pitfalls-json=-", *R3])
    script = f"{sys.executable} -m pytest {options} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=project.path, capture_output=True, text=True, timeout=120)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Broken pipe" in done.stderr


@posix
def test_standard_output_in_a_file_keeps_what_pytest_wrote(project):
    """``pytest > log``: a second look at the same file must not write over its beginning."""
    options = ["-p", "no:randomly", "-p", "no:cacheprovider", "--editor=rome", *R3, "--pitfalls-json=/dev/stdout"]
    with (project.path / "log").open("w") as log:
        subprocess.run(
            [sys.executable, "-m", "pytest", *options], cwd=project.path, stdout=log, check=True, timeout=120
        )
    text = (project.path / "log").read_text()
    assert text.startswith("====")
    assert len(json.loads("{" + text.partition("\n{")[2])["cases"]) == 3
