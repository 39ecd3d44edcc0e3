"""Paths that cannot be followed, on the command line and in ini: one message, before any work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

TOO_LONG = "x" * 300
OPTIONS = ("suite", "config", "baseline")
posix = pytest.mark.skipif(sys.platform == "win32", reason="no such names here")


def refused(project, *args: str) -> str:
    """Run, and return the one message that refuses it."""
    result = project.run(*args)
    text = result.stdout.str() + result.stderr.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, text
    assert "INTERNALERROR" not in text
    assert not project.calls("open")
    return "\n".join(line for line in text.splitlines() if line.startswith(("ERROR", "  fix")))


@posix
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("path", ["circle.toml", "circle.toml/x.toml"])
def test_a_circle_of_links(project, option, path):
    (project.path / "circle.toml").symlink_to("other.toml")
    (project.path / "other.toml").symlink_to("circle.toml")
    assert refused(project, f"--pitfalls-{option}=./{path}") == (
        f"ERROR: --pitfalls-{option}: cannot look for '{project.path / path}': Too many levels of symbolic links\n"
        "  fix: check the path"
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_a_name_too_long(project, option):
    assert "File name too long" in refused(project, f"--pitfalls-{option}=./{TOO_LONG}.toml")


@posix
@pytest.mark.parametrize("option", OPTIONS)
def test_a_link_to_nowhere(project, option):
    (project.path / "dangling.toml").symlink_to("nowhere.toml")
    assert "no " in refused(project, f"--pitfalls-{option}=./dangling.toml")


@posix
def test_in_ini(project):
    (project.path / "circle.toml").symlink_to("circle.toml")
    for key in ("suites", "config", "baseline"):
        project.pytester.makeini(f"[pytest]\npitfalls_{key} = ./circle.toml\n")
        assert "Too many levels of symbolic links" in refused(project)


@posix
@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("option", OPTIONS)
def test_a_directory_that_may_not_be_entered(project, option):
    (project.path / "locked").mkdir(mode=0)
    assert "Permission denied" in refused(project, f"--pitfalls-{option}=./locked/x.toml")


@posix
@pytest.mark.parametrize("argument", ["pitfalls/" + TOO_LONG + ".py::test_x[y]", TOO_LONG + "/reverse.py"])
def test_in_a_node_id(project, argument):
    (project.path / "pitfalls").mkdir()
    assert "File name too long" in refused(project, argument)


@posix
@pytest.mark.parametrize("option", ["suite", "config", "baseline", "model", "store", "save", "json"])
def test_a_name_that_is_not_utf8(project, option):
    name = os.fsdecode(b"./bad\xff.json")
    assert refused(project, f"--pitfalls-{option}={name}") == (
        f"ERROR: --pitfalls-{option}: the name './bad\\udcff.json' is not UTF-8\n  fix: rename the file or directory"
    )


@posix
def test_a_command_with_a_name_that_is_not_utf8_is_recorded(project):
    """Of a test file: pytest runs it, and the results must not be lost for it."""
    folder = Path(os.fsdecode(os.fsencode(project.path) + b"/bad\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    (folder / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('reverse')\ndef test_own(pitfall_outcome): pass\n"
    )
    document = project.results(str(folder / "test_own.py"), "--pitfalls-limit=2", "--pitfalls-html=out.html")
    project.last.assert_outcomes(passed=2)
    assert any(word.endswith("bad\\udcff/test_own.py") for word in document["run"]["command"])


@posix
def test_a_file_of_the_suite_in_a_circle(project):
    option = project.whole("reverse", 1)
    (project.path / "suites" / "reverse.jsonl").unlink()
    (project.path / "suites" / "reverse.jsonl").symlink_to("reverse.jsonl")
    assert "Too many levels of symbolic links" in refused(project, option)
