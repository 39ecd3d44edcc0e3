"""`--pitfalls-config` with a file that others publish, on a tiny model."""

from __future__ import annotations

import json

import pytest

FT = 'alg_name: "FT"\ndevice: 0\nlayers: [1]\nnum_steps: 2\nlr: 5e-4\nobjective_optimization: "prompt_last"\n'


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint directory of a tiny random Llama."""
    from tests.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


def test_the_values_are_used_and_the_others_are_listed(tiny, pytester, run_here):
    (pytester.path / "llama-7b.yaml").write_text(FT)
    arguments = (f"--model={tiny}", "--pitfalls-suite=coverage", "--pitfalls-limit=1", "--pitfalls-json=o.json")
    done = run_here(pytester.path, "--editor=ft", "--pitfalls-config=llama-7b.yaml", *arguments)
    assert "'ft' takes 4 values from llama-7b.yaml; not used: alg_name, device (not hyper-" in done.stdout
    (editor,) = json.loads((pytester.path / "o.json").read_text())["run"]["editors"]
    used = editor["hyper_parameters"]
    assert (used["layers"], used["num_steps"], used["lr"]) == ([1], 2, 0.0005)
    bad = pytester.path / "bad.yaml"
    bad.write_text(FT.replace("[1]", "[31]"))
    done = run_here(pytester.path, "--editor=ft", "--pitfalls-config=bad.yaml", *arguments)
    assert done.returncode == 4
    (line,) = [line for line in (done.stdout + done.stderr).splitlines() if "bad value" in line]
    assert "bad.yaml layers: bad value [31]: the model has the layers 0 to" in line


def test_the_file_of_another_editor_ends_the_run_at_once(project):
    (project.path / "x.yaml").write_text(FT)
    done = project.run("--pitfalls-config=x.yaml")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["*x.yaml: the file is for 'ft', and this run has 'rome'*", "*fix: add --editor=ft*"])
