"""Without an editor the plugin is silent and free."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "pydantic", "rich", "numpy", "scipy", "yaml")


def test_marked_tests_skip_with_a_reason(project):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('reverse')\ndef test_own(pitfall_case, pitfall_outcome): pass\n"
        "def test_base(base_model): pass\n"
    )
    result = project.run("-rs", editor=False)
    result.assert_outcomes(skipped=2)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["SKIPPED*no editor: run with --pitfalls-editor*"])


def test_no_output_and_no_heavy_import(project):
    """A plain run in a process of its own."""
    (project.path / "conftest.py").unlink()
    (project.path / "test_mine.py").write_text(
        "import sys\ndef test_mine():\n"
        f"    loaded = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    assert not loaded, loaded\n    assert 'pytest_editpitfalls.plugin' in sys.modules\n"
        "    assert 'pytest_editpitfalls.session.session' not in sys.modules\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:hypothesispytest",
            "-p",
            "no:anyio",
            "-p",
            "no:randomly",
        ],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pitfalls:" not in done.stdout
    assert "editing" not in done.stdout


def test_a_node_id_without_an_editor(project):
    result = project.run("pitfalls/reverse.py::test_reverse", editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: pitfalls/reverse.py::test_reverse: there is no such file", "*--editor=rome*"])


def test_the_marker_is_registered(project):
    (project.path / "test_own.py").write_text("import pytest\n@pytest.mark.pitfalls('x')\ndef test_own(): pass\n")
    project.run("--strict-markers", editor=False).assert_outcomes(skipped=1)
    project.run("--markers", editor=False).stdout.fnmatch_lines(["@pytest.mark.pitfalls(suite): *"])
