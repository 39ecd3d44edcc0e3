"""The whole way on a tiny random model: from the command line to the JSON file, with the real engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

R2 = ("--pitfalls-suite=coverage", "--pitfalls-limit=2")
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint directory of a tiny random Llama."""
    sys.path.insert(0, str(TESTS))
    try:
        from tiny_models import save_tiny
    finally:
        sys.path.remove(str(TESTS))
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


def run(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def quick(tmp_path):
    """Hyper-parameters that cost little."""
    (tmp_path / "corpus.txt").write_text("The capital city of Japan is Tokyo.\nThe capital of Peru is Lima.\n" * 8)
    (tmp_path / "rome.toml").write_text(
        "[rome]\nlayers = [1]\nv_num_grad_steps = 3\nmom2_corpus = 'corpus.txt'\nmom2_ridge = 0.1\n"
        "context_templates = ['{}', 'So {}']\n"
    )
    return "--pitfalls-config=rome.toml"


def test_workers_give_the_same(tiny, tmp_path, quick):
    options = ("--editor=rome", f"--model={tiny}", "--pitfalls-suite=conflict", "--pitfalls-limit=2", quick)
    alone, *others = [
        results_of(tmp_path, *options, "--pitfalls-fresh", *workers) for workers in ((), ("-n0",), ("-n2",))
    ]
    assert len(alone["cases"]) == 6
    for other in others:
        for one, same in zip(alone["run"]["editors"], other["run"]["editors"], strict=True):
            assert {**one, "batch": None} == {**same, "batch": None}  # a worker may have had small ones only
        assert alone["run"]["models"] == other["run"]["models"]
        assert_same(alone, other)


def test_a_killed_run_goes_on_with_workers(tiny, tmp_path, quick):
    """SIGKILL of the whole run once two cases are stored; -n2 computes the others; all as without a kill."""
    options = ("--editor=rome", f"--model={tiny}", "--pitfalls-suite=reverse", "--pitfalls-limit=6", quick)
    (tmp_path / "conftest.py").write_text(
        "import os, signal\n"
        "def pytest_pitfalls_outcome(item):\n"
        "    if os.environ.get('KILL') and 'P246' in item.name:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = run(tmp_path, *options, "--pitfalls-batch-size=2", KILL="1")
    assert killed.returncode == -signal.SIGKILL
    resumed = results_of(tmp_path, *options, "-n2")
    stored = [case["id"] for case in resumed["cases"] if case["cached"]]
    assert 2 <= len(stored) < 6
    whole = results_of(tmp_path, *options, "--pitfalls-fresh")
    assert not any(case["cached"] for case in whole["cases"])
    assert_same(whole, resumed)


def test_a_changed_model_file_is_noticed(tiny, tmp_path, quick, run_here):
    """One weight of the checkpoint changes between two runs: nothing stored is reused."""
    from safetensors.torch import load_file, save_file

    model = tmp_path / "model"
    shutil.copytree(tiny, model)
    options = ("--editor=rome", f"--model={model}", *R2, quick)
    results_of(tmp_path, *options, by=run_here)
    again = results_of(tmp_path, *options, by=run_here)
    assert all(case["cached"] for case in again["cases"])
    file = model / "model.safetensors"
    weights = load_file(file)
    next(iter(weights.values())).view(-1)[0] += 0.5
    save_file(weights, file, metadata={"format": "pt"})
    changed = results_of(tmp_path, *options, by=run_here)
    assert not any(case["cached"] for case in changed["cases"])
    assert changed["run"]["models"][0]["fingerprint"] != again["run"]["models"][0]["fingerprint"]
    refused = run_here(tmp_path, *options, "--pitfalls-replay")  # which of the two is meant?
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR
    assert "fingerprint" in refused.stderr


def results_of(folder, *arguments, by=run):
    """Run and return the document."""
    done = by(folder, *arguments, "--pitfalls-json=out.json")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return json.loads((folder / "out.json").read_text())


def assert_same(first, second):
    """Ids and outcomes are the same, metrics within 0.02, probabilities within rounding."""
    for one, other in zip(first["cases"], second["cases"], strict=True):
        assert all(one[key] == other[key] for key in ("suite", "id", "outcome"))
        assert one["metrics"] == pytest.approx(other["metrics"], abs=0.02)
        for probe, same in zip(one["probes"], other["probes"], strict=True):
            assert probe["probabilities"] == pytest.approx(same["probabilities"], rel=1e-4)


def test_end_to_end(tiny, tmp_path, quick):
    (tmp_path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('coverage')\n"
        "def test_own(pitfall_case, edited_model, base_model, base_tokenizer):\n"
        "    tokens = base_tokenizer(pitfall_case.questions(pitfall_case.edits[0].after)[0], return_tensors='pt')\n"
        "    before = base_model(**tokens).logits\n"
        "    with edited_model() as model:\n"
        "        assert not model(**tokens).logits.equal(before)\n"
        "        assert model.generate(**tokens, max_new_tokens=2).shape[0] == 1\n"
        "    assert base_model(**tokens).logits.equal(before)\n"
    )
    done = run(
        tmp_path, "test_own.py", "--editor=rome", f"--model={tiny}", *R2, quick,
        "--pitfalls-json=out.json",
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout + done.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert len(document["cases"]) == 2
    assert {case["outcome"] for case in document["cases"]} <= {"passed", "failed"}
    assert {case["model"] for case in document["cases"]} == {"tiny-llama"}
    assert all(0 <= p <= 1 for case in document["cases"] for probe in case["probes"] for p in probe["probabilities"])
    editor = document["run"]["editors"][0]
    assert editor["hyper_parameters"]["v_num_grad_steps"] == 3
    assert editor["hyper_parameters"]["context_templates"] == ["{}", "So {}"]
    assert editor["second_moment"]
    model = document["run"]["models"][0]
    assert model["source"] == str(tiny)
    assert model["family"] == "llama"
    assert model["fingerprint"]
    assert document["run"]["device"] == "cpu"
    assert {"load", "edit", "score", "prepare rome"} <= set(document["run"]["timings"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--pitfalls-set=rome.v_lrr=1", "v_lrr"),
        ("--pitfalls-set=rome.layers=[99]", "layers"),
        ("--pitfalls-device=cuda:63", "cuda"),
        pytest.param(
            "--pitfalls-dtype=tf32",
            "'cpu' does not multiply in TF32",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_what_only_the_engine_knows_is_a_usage_error(tiny, tmp_path, run_here, option, message):
    done = run_here(tmp_path, "--editor=rome", f"--model={tiny}", *R2, option, "--pitfalls-json=out.json")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out.json").exists()
    assert done.stderr.count("ERROR:") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_files_of_other_benchmarks(tiny, tmp_path, quick, run_here):
    """Edits, prompts and held questions made of others' records are what the engine takes."""
    samples = TESTS / "fuzz" / "corpus"
    for name in ("counterfact", "mquake", "ripple_edits", "peak"):
        shutil.copy(samples / f"{name}.json" / "seed.json", tmp_path / f"{name}.json")
    kinds = ("counterfact.json", "mquake.json::composite", "ripple_edits.json::reverse", "peak.json::round")
    suites = [f"--pitfalls-suite={kind}" for kind in kinds]
    document = results_of(
        tmp_path, "--editor=rome", f"--model={tiny}", *suites, "--pitfalls-limit=2", quick, by=run_here
    )
    assert {suite["kind"] for suite in document["run"]["suites"]} == {"coverage", "composite", "reverse", "round"}
    assert len(document["cases"]) == 8
    assert not [case["id"] for case in document["cases"] if case["outcome"] in ("error", "skipped")]
    assert all(case["held"] is not None for case in document["cases"])
