"""Anybody's editor on the command line: by entry point, by hook and by path; and the how-to page, run as written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_helpers import case_ids

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sample_editor_package"
PAGE = ROOT / "docs" / "write-an-editor.md"
TINY = ("--pitfalls-suite=coverage", "--pitfalls-limit=2")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint directory of a tiny random Llama."""
    from tests.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The sample package, installed into an empty directory."""
    target = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--no-index", "--no-build-isolation", "--no-deps", "--disable-pip-version-check")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(SAMPLE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def run(folder, *arguments, path=None, module="pytest"):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "220"}
    environment.pop("PYTHONPATH", None)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def blocks(language):
    """Code blocks of the page, those within lists left out."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)


def test_the_page_shows_the_package_that_is_tested():
    shown = blocks("python") + blocks("toml")
    for file in ("my_editor/in_place.py", "my_editor/batched.py", "pyproject.toml"):
        assert (SAMPLE / file).read_text(encoding="utf-8") in shown
    workflow = blocks("yaml")[0]
    assert "pytest --editor=nudge" in workflow


def test_the_page_s_package_edits_and_gates(tiny, installed, tmp_path):
    (tmp_path / "pyproject.toml").write_text((SAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    settings = [f"--pitfalls-set={editor}.{key}" for editor in ("nudge", "rank-one") for key in ("layer=1", "steps=2")]
    arguments = ("-p", "no:cacheprovider", "--editor=nudge", "--editor=rank-one", f"--model={tiny}")
    done = run(tmp_path, *arguments, "--pitfalls-limit=2", "--pitfalls-json=out.json", *settings, path=installed)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert {case["editor"] for case in document["cases"]} == {"nudge", "rank-one"}
    assert len(document["cases"]) == 4
    assert {case["outcome"] for case in document["cases"]} <= {"passed", "failed", "xfailed"}
    described = {editor["name"]: editor["hyper_parameters"] for editor in document["run"]["editors"]}
    assert described["nudge"] == {"layer": 1, "lr": 0.01, "steps": 2}
    assert described["rank-one"]["layer"] == 1
    gates = [gate["passed"] for gate in document["run"]["gates"]] if "gates" in document["run"] else []
    assert "coverage.succ >= 0.5" in json.dumps(document) or gates
    for editor in ("nudge", "rank-one"):
        probes = next(case["probes"] for case in document["cases"] if case["editor"] == editor)
        by_state = {}
        for probe in probes:
            by_state.setdefault(probe["fact"], {})[probe["state"]] = probe["probabilities"]
        assert any(len({json.dumps(p) for p in states.values()}) > 1 for states in by_state.values())

    listed = run(tmp_path, "editors", "--json", path=installed, module="pytest_editpitfalls.cli.app")
    assert listed.returncode == 0, listed.stderr
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["nudge"]["form"] == "in place"
    assert rows["nudge"]["origin"] == "package my-editor 0.1.0 (my_editor.in_place:nudge)"
    assert rows["rank-one"]["form"] == "low-rank"


OWN = """
import torch

def harsh(model, tokenizer, requests, scale: float = 2.0):
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(scale)
    if requests[0]["case_id"] == "{broken}":
        raise ValueError("not this one")
"""


def test_hook_and_path_work_in_workers(tiny, tmp_path):
    broken, fine = case_ids("coverage", 2)
    (tmp_path / "own_module.py").write_text(OWN.replace("{broken}", broken))
    (tmp_path / "conftest.py").write_text(
        "def pytest_pitfalls_editors():\n    import own_module\n    return {'hooked': own_module.harsh}\n"
    )
    options = (
        "-p",
        "no:cacheprovider",
        "--editor=own_module:harsh",
        "--editor=hooked",
        f"--model={tiny}",
        *TINY,
    )
    done = run(
        tmp_path, *options, "-n2", "--pitfalls-set=harsh.scale=3", "--pitfalls-set=hooked.scale=3",
        "--pitfalls-json=out.json",
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert f"coverage case {broken}: editor 'harsh', edit 1: ValueError: not this one (line 8, in harsh)" in output
    assert "--editor=own_module:harsh" in output  # the command that runs the case again
    cases = json.loads((tmp_path / "out.json").read_text())["cases"]
    assert [(case["editor"], case["id"], case["outcome"] == "error") for case in cases] == [
        (editor, case, case == broken) for editor in ("harsh", "hooked") for case in (broken, fine)
    ]
    assert cases[1]["probes"] == cases[3]["probes"] != []


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("no_such_module:edit", "no_such_module cannot be imported: No module named 'no_such_module'"),
        ("broken_editor:edit", "broken_editor cannot be imported: ZeroDivisionError: division by zero"),
        ("lacking_editor:edit", "install no_such_package, which lacking_editor imports"),
        ("good_editor:edit_", "did you mean 'edit'?"),
        ("good_editor:short", "the editor takes (model), not (model, tokenizer, requests"),
        ("good_editor:number", "a int is no editor"),
        ("good_editor:rome", "'rome' is the name of an editor that ships"),
        ("good_editor:", "is not package.module:attribute"),
        ("good editor:edit", "is not package.module:attribute"),
        ("good_editor:edit+mel", "is not package.module:attribute"),
    ],
)
def test_a_path_that_is_no_editor_is_a_usage_error(project, typed, words):
    (project.path / "broken_editor.py").write_text("1 / 0\n")
    (project.path / "lacking_editor.py").write_text("import no_such_package\n")
    (project.path / "good_editor.py").write_text(
        "def edit(model, tokenizer, requests): pass\ndef short(model): pass\nnumber = 3\nrome = edit\n"
    )
    result = project.run(f"--editor={typed}", *TINY, editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert words in text
    assert "Traceback" not in text


def test_labels_node_ids_and_settings(project):
    (project.path / "good_editor.py").write_text(
        "class Nested:\n    def edit(model, tokenizer, requests, lr=1.0): pass\n"
    )
    project.engine(
        "def pytest_pitfalls_editors(config):\n    import good_editor\n    return {'a.b': good_editor.Nested.edit}\n"
    )
    typed = ("--editor=good_editor:Nested.edit", "--editor=good_editor:Nested.edit+mle", "--editor=a.b")
    result = project.run(
        *typed, "--pitfalls-set=edit.lr=2", "--pitfalls-set=a.b.lr=2", "--pitfalls-suite=coverage",
        "--pitfalls-limit=1", "--collect-only", "-q", editor=False,
    )  # fmt: skip
    ids = [line for line in result.outlines if "::" in line]
    assert [each.partition("[")[2].partition("-smollm2")[0] for each in ids] == ["edit", "edit+mle", "a.b"]
    result = project.run("--editor=good_editor:Nested.edit", "--pitfalls-set=edti.lr=2", *TINY, editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "did you mean 'edit'?" in result.stderr.str()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return [1]", "the hook gave a list, not a dictionary"),
        ("return {'ro me': print}", "'ro me' cannot be the name of an editor"),
        ("return {'mine': 3}", "a int is no editor"),
    ],
)
def test_a_wrong_hook_is_a_usage_error(project, body, words):
    project.engine(f"def pytest_pitfalls_editors():\n    {body}\n")
    result = project.run("--editor=mine", *TINY, editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()
    assert "conftest.py" in result.stderr.str()


def test_the_facade_is_light():
    code = (
        "import sys, pytest_editpitfalls.editors as e\n"
        "e.EditorDeclaration, e.in_place_editor, e.Hyperparameters, e.UsageError\n"
        "assert 'torch' not in sys.modules\n"
        "e.LowRankDelta, e.EditResult\n"
        "assert 'torch' in sys.modules\n"
        "assert all(hasattr(e, name) for name in e.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
