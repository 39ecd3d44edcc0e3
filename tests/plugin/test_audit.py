"""``--pitfalls-edited`` and ``--pitfalls-base``: a finished checkpoint is audited, and no editor runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SAMPLE = TESTS / "sample_pitfall_package"
SUITE = "--pitfalls-suite=suite/nearby.toml"
AUDIT = ("--edited=my-model", "--base=./base", SUITE)
KIND = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
def pytest_pitfalls_kinds():
    from bystanders import Bystanders
    return [Bystanders]
"""


def save(model, directory):
    model.save_pretrained(directory)
    return directory


def changed(base, directory, sizes, sharper=1.0):
    """A copy of the base model with a rank-one change of these down-projections: layer -> size; logits ``sharper``."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for layer, size in sizes.items():
            weight = model.model.layers[layer].mlp.down_proj.weight
            torch.manual_seed(layer)
            weight += size * torch.randn(weight.shape[0], 1) @ torch.randn(1, weight.shape[1])
        model.model.norm.weight *= sharper
    return save(model, directory)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A tiny base model and an edited copy of it, a suite that asks before and after one edit, and its kind."""
    sys.path.insert(0, str(TESTS))
    try:
        from tiny_models import save_tiny
    finally:
        sys.path.remove(str(TESTS))
    folder = tmp_path_factory.mktemp("audit")
    changed(save_tiny(folder / "base", "llama"), folder / "my-model", {1: 0.05, 2: 0.01})
    shutil.copytree(SAMPLE / "bystanders", folder / "bystanders")
    shutil.copytree(SAMPLE / "suite", folder / "suite")
    (folder / "conftest.py").write_text(KIND)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


@pytest.fixture
def folder(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture
def results_of(run_here):
    """Run and return the document, and the run."""

    def results_of(folder, *arguments):
        done = run_here(folder, *arguments, "--pitfalls-json=out.json")
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return json.loads((folder / "out.json").read_text()), done

    return results_of


def run_apart(folder, *arguments):
    """Run in a process of its own: what this process imports for Ray, pytester would let it import once more."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    for name in ("CI", "GITHUB_STEP_SUMMARY"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def audited(prepared, tmp_path_factory):
    """A copy of all that in which the audit has run, in a process of its own, with every report; and that run."""
    folder = tmp_path_factory.mktemp("audited") / "work"
    shutil.copytree(prepared, folder)
    reports = ("--pitfalls-html=out.html", "--pitfalls-markdown=out.md", "--pitfalls-json=out.json")
    done = run_apart(folder, *AUDIT, *reports)
    return folder, json.loads((folder / "out.json").read_text()), done


def probabilities(document):
    return {
        case["id"]: [value for probe in case["probes"] for value in probe["probabilities"]]
        for case in document["cases"]
    }


def test_the_whole_way(audited, run_here):
    """From the command line to every report, and back from the rerun command."""
    folder, document, done = audited
    text = done.stdout
    assert f"pitfalls: audit of {folder / 'my-model'} against ./base, device auto, suites nearby" in text
    assert {(case["editor"], case["model"]) for case in document["cases"]} == {("edited:my-model", "base")}
    assert all(probe["state"] in "01" for case in document["cases"] for probe in case["probes"])
    (editor,) = document["run"]["editors"]
    checkpoint = editor["checkpoint"]
    assert (checkpoint["source"], checkpoint["form"]) == (str(folder / "my-model"), "checkpoint")
    first, second = checkpoint["edited_weights"]
    assert (first["name"], first["shape"], first["rank"]) == ("model.layers.1.mlp.down_proj.weight", [32, 96], 1)
    assert first["change"] > second["change"] > 0
    assert "Weights that differ, edited:my-model and base: 2 of 51" in text
    assert text.index("layers.1.mlp") < text.index("layers.2.mlp")
    for file in ("out.html", "out.md"):
        report = (folder / file).read_text()
        assert "Weights that differ" in report
        assert "down" in report
    assert "load edited:my-model" in document["run"]["timings"]
    rerun = next(line.strip() for line in text.splitlines() if line.strip().startswith("pytest 'pitfalls/"))
    again = run_here(folder, *shlex.split(rerun)[1:])
    assert "1 failed" in again.stdout
    assert "--edited=" in rerun
    short = run_here(folder, *AUDIT, "-q")
    assert "Weights that differ, edited:my-model and base: 2 of 51" in short.stdout


def test_workers_and_a_replay_give_the_same(audited, run_here, results_of):
    folder, alone, _ = audited
    workers, _ = results_of(folder, *AUDIT, "-n2", "--pitfalls-fresh")
    for case, values in probabilities(workers).items():
        assert values == pytest.approx(probabilities(alone)[case], rel=1e-4)
    assert workers["run"]["editors"][0]["checkpoint"] == alone["run"]["editors"][0]["checkpoint"]
    (folder / "my-model").rename(folder / "away")  # a replay loads nothing
    try:
        replayed = run_here(folder, *AUDIT, "--pitfalls-replay", "--pitfalls-json=out.json")
    finally:
        (folder / "away").rename(folder / "my-model")
    document = json.loads((folder / "out.json").read_text())
    assert all(case["cached"] for case in document["cases"]), replayed.stdout
    assert document["run"]["editors"][0]["checkpoint"] == alone["run"]["editors"][0]["checkpoint"]
    assert "Weights that differ" in replayed.stdout


def test_rays_actors_audit_too(audited):
    pytest.importorskip("ray")
    folder, alone, _ = audited
    run_apart(folder, *AUDIT, "--pitfalls-fresh", "--pitfalls-engine=ray:1", "--pitfalls-json=actors.json")
    actors = json.loads((folder / "actors.json").read_text())
    for case, values in probabilities(actors).items():
        assert values == pytest.approx(probabilities(alone)[case], rel=1e-4)
    assert actors["run"]["editors"][0]["checkpoint"] == alone["run"]["editors"][0]["checkpoint"]


def test_the_store_goes_by_what_the_weights_are(audited, tmp_path, run_here, results_of):
    """Not by where the directory lies, its date or its other files; and it never mixes two checkpoints."""
    folder = tmp_path / "work"
    shutil.copytree(audited[0], folder)  # with the store of that run
    (folder / "elsewhere").mkdir()
    shutil.move(folder / "my-model", folder / "elsewhere" / "my-model")
    (folder / "elsewhere" / "my-model" / "README.md").write_text("words")
    moved, _ = results_of(folder, "--edited=elsewhere/my-model", *AUDIT[1:])
    assert all(case["cached"] for case in moved["cases"])
    changed(folder / "base", folder / "my-model", {1: 0.05, 2: 0.02})
    other, _ = results_of(folder, *AUDIT)
    assert not any(case["cached"] for case in other["cases"])
    assert probabilities(other) != probabilities(moved)
    changed(folder / "base", folder / "base2", {3: 0.01})
    for file in (folder / "base").glob("token*"):
        shutil.copy(file, folder / "base2")
    based, _ = results_of(folder, "--edited=my-model", "--base=./base2", SUITE)
    assert not any(case["cached"] for case in based["cases"])
    refused = run_here(folder, *AUDIT, "--pitfalls-replay")  # which of the two is meant?
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "changed weights" in refused.stderr


def test_gates_and_baselines_as_in_any_run(folder, run_here):
    loose = ("--pitfalls-untaken=judge", "--pitfalls-success-floor=0")
    saved = run_here(folder, *AUDIT, *loose, "--pitfalls-save=first", "--pitfalls-gate=nearby.unharmed >= 0.5")
    assert saved.returncode == 0, saved.stdout
    assert "gate nearby.unharmed >= 0.5 (edited:my-model on base): passed" in saved.stdout
    shutil.rmtree(folder / "my-model")
    changed(folder / "base", folder / "my-model", {}, sharper=4.0)
    worse = run_here(folder, *AUDIT, *loose, "--pitfalls-baseline=first")
    assert worse.returncode == pytest.ExitCode.TESTS_FAILED
    assert "new failure" in worse.stdout
    failed = run_here(folder, *AUDIT, *loose, "--pitfalls-gate=nearby.unharmed >= 0.9")
    assert failed.returncode == pytest.ExitCode.TESTS_FAILED
    assert "(edited:my-model on base): FAILED" in failed.stdout


def test_several_checkpoints_of_one_base(folder, results_of):
    (folder / "other").mkdir()
    changed(folder / "base", folder / "other" / "my-model", {3: 0.05})
    document, done = results_of(folder, "--edited=other/my-model", *AUDIT)
    assert {case["editor"] for case in document["cases"]} == {"edited:my-model", "edited:my-model-2"}
    names = {each["name"]: each["checkpoint"]["edited_weights"][0]["name"] for each in document["run"]["editors"]}
    assert names["edited:my-model"] == "model.layers.3.mlp.down_proj.weight"
    assert names["edited:my-model-2"] == "model.layers.1.mlp.down_proj.weight"
    rerun = next(line for line in done.stdout.splitlines() if "edited:my-model-2-base-" in line and "--base" in line)
    assert rerun.count("--edited=") == 2  # the label has its number beside the other one alone


def test_a_test_of_ones_own_and_its_edited_model(folder, run_here):
    (folder / "test_mine.py").write_text(
        "import pytest\n"
        "@pytest.mark.pitfalls('suite/nearby.toml')\n"
        "def test_mine(pitfall_case, edited_model, base_tokenizer):\n"
        "    ids = base_tokenizer('The capital of France is', return_tensors='pt')\n"
        "    with edited_model('1') as model:\n"
        "        after = model(**ids).logits\n"
        "    with edited_model('0') as model:\n"
        "        assert not (model(**ids).logits == after).all()\n"
    )
    assert " 4 passed" in run_here(folder, "--edited=my-model", "--base=./base", "test_mine.py").stdout
    text = (folder / "test_mine.py").read_text()
    (folder / "test_mine.py").write_text(text.replace("suite/nearby.toml", "reverse"))
    refused = run_here(folder, "--edited=my-model", "--base=./base", "test_mine.py")
    assert "'reverse' asks for states that an edited checkpoint has not (12, 2)" in refused.stdout


def test_what_is_wrong_with_the_weights_is_said_before_work_begins(folder, run_here):
    shutil.rmtree(folder / "my-model")
    shutil.copytree(folder / "base", folder / "my-model")
    for workers in ((), ("-n2",)):
        refused = run_here(folder, *AUDIT, *workers)
        assert refused.returncode != 0
        assert "nothing differs: all 51 weights are those of ./base" in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--edited=my-model", SUITE), "*--pitfalls-edited: its base is missing*"),
        (("--base=base", SUITE), "*--base: there is a base, and no edited checkpoint*"),
        (("--pitfalls-base=base", SUITE), "*--pitfalls-base: there is a base, and no edited checkpoint*"),
        (("--base=base", "--editor=rome", SUITE), "*there is a base, and no edited checkpoint*"),
        (("--edited=my-model", "--base=base", "--editor=rome"), "*--pitfalls-edited and --pitfalls-editor*"),
        (("--edited=my-model", "--base=./base", "--model=gpt2"), "*--pitfalls-model: an audit has no models but*"),
        (("--edited=my-model", "--base=./base", "--base=gpt2"), "*there are several: ./base, gpt2*"),
        (("--edited=my-model", "--base=./base"), "*nothing says which edits are in the checkpoint*--pitfalls-edits*"),
        (("--edited=./nowhere", "--base=./base", SUITE), "*--edited=./nowhere: there is no such file or directory*"),
        (("--edited=suite", "--base=./base", SUITE), "*--edited=*suite: the directory holds no config.json*"),
        (("--edited=./base", "--base=./base", SUITE), "*--edited=*base: the edited checkpoint and the base are one*"),
        (("--edited=my-model", "--base=./nowhere", SUITE), "*'./nowhere'*there is no such file or directory*"),
        (("--edited=", "--base=./base", SUITE), "*--pitfalls-edited: the value is empty*"),
        ((*AUDIT, "--pitfalls-set=rome.v_lr=1"), "*an audit edits nothing*"),
        ((*AUDIT[:2], "--pitfalls-suite=reverse"), "*'reverse' asks for states that an edited checkpoint has not (12*"),
        ((*AUDIT[:2], "--pitfalls-suite=easy"), "*'easy' asks for states*"),
        ((*AUDIT[:2], "pitfalls/reverse.py"), "*'reverse' asks for states*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_typed_wrong(prepared, project, arguments, words):
    for name in ("base", "my-model", "suite", "bystanders"):
        shutil.copytree(prepared / name, project.path / name)
    project.engine(f"{KIND}")
    result = project.run(*arguments, editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = " ".join(result.stderr.str().split())
    result.stderr.no_fnmatch_line("*Traceback*")
    import fnmatch

    assert fnmatch.fnmatch(said, words.replace("[", "[[]")), said
    assert not project.calls("open")


def test_an_editor_in_addopts_is_for_other_runs(prepared, project):
    for name in ("base", "my-model", "suite", "bystanders"):
        shutil.copytree(prepared / name, project.path / name)
    project.engine(KIND)
    (project.path / "pytest.ini").write_text("[pytest]\naddopts = --editor=rome\npitfalls_model = gpt2\n")
    result = project.run(*AUDIT, "--collect-only", "-q", editor=False)
    assert "pitfalls/nearby.py::test_nearby[edited:my-model-base-capital-0]" in result.outlines
    assert not any("rome" in line for line in result.outlines)
    (project.path / "pytest.ini").write_text("[pytest]\naddopts = --pitfalls-edited=my-model --pitfalls-base=./base\n")
    result = project.run("--editor=rome", "--model=gpt2", SUITE, "--collect-only", "-q", editor=False)
    assert "pitfalls/nearby.py::test_nearby[rome-gpt2-capital-0]" in result.outlines


def test_short_forms_of_somebody_else(prepared, project):
    for name in ("base", "my-model", "suite", "bystanders"):
        shutil.copytree(prepared / name, project.path / name)
    project.engine(f"{KIND}\ndef pytest_addoption(parser):\n    parser.addoption('--base')\n")
    result = project.run("--edited=my-model", "--pitfalls-base=./base", SUITE, "--collect-only", editor=False)
    result.stdout.fnmatch_lines(["*--base belongs to another plugin or conftest here; use --pitfalls-base*"])
    result = project.run("--collect-only", SUITE)
    result.stdout.no_fnmatch_line("*--base belongs*")
