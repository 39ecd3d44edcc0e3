"""docs/audit-a-checkpoint.md: its commands are run on the embedded model, and do what the page says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "audit-a-checkpoint.md"
EXAMPLE = ROOT / "examples" / "audited-checkpoint"
NAMED = "HuggingFaceTB/SmolLM2-135M-Instruct"
WEIGHT = "model.layers.9.mlp.down_proj.weight"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)


def commands():
    text = "".join(blocks("sh")).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines()]


def run(folder, words, base):
    words = [word.replace(NAMED, str(base)) for word in words]
    start = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "pytest", "-p", "no:randomly"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "150"}
    for name in ("CI", "GITHUB_STEP_SUMMARY"):
        environment.pop(name, None)
    return subprocess.run(
        [*start, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=900
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The embedded model in a directory of the name that the page has."""
    from pytest_editpitfalls.engine.models import prepare, resolve

    directory = tmp_path_factory.mktemp("base") / NAMED.rpartition("/")[2]
    directory.symlink_to(prepare(resolve("smollm2-135m")))
    return directory


@pytest.fixture(scope="module")
def edited(base, tmp_path_factory):
    """The example's directory after the page's first command: the model is edited and saved."""
    folder = tmp_path_factory.mktemp("audit") / "example"
    shutil.copytree(EXAMPLE, folder)
    (script,) = [words for words in commands() if words[0] == "python"]
    done = run(folder, script, base)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def audit(base, edited):
    """The page's audit: its terminal and its document."""
    (words,) = [words for words in commands() if "--pitfalls-json=audit.json" in words]
    done = run(edited, words, base)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return done.stdout, json.loads((edited / "audit.json").read_text())


def test_the_page_shows_the_examples_edits():
    assert blocks("json") == [(EXAMPLE / "edits.jsonl").read_text(encoding="utf-8")]


def test_the_edits_took_and_what_they_broke_is_found(audit):
    text, document = audit
    assert len(document["cases"]) == 3
    assert {(case["outcome"], case["metrics"]["es"]) for case in document["cases"]} == {("failed", 1.0)}
    means = {fact["sentence"]: fact for case in document["cases"] for fact in facts_of(case)}
    silver = means["The chemical symbol for silver is Ag"]
    assert silver["1"] < 0.6 * silver["0"]
    gold = means["The chemical symbol of gold is Fe"]
    assert gold["1"] > 0.3 > 0.01 > gold["0"]
    russia = means["The official language of Russia is Russian"]  # nobody edited it
    assert russia["1"] == pytest.approx(russia["0"], rel=0.1)
    for line in ("The chemical symbol of gold is ... Au -> Fe", "Weights that differ, edited:my-model and"):
        assert line in text


def facts_of(case):
    found = {name: {"sentence": f"{fact['prompt'].rstrip()} {fact['object']}"} for name, fact in case["facts"].items()}
    for probe in case["probes"]:
        values = probe["probabilities"]
        found[probe["fact"]][probe["state"]] = sum(values) / len(values)
    return found.values()


def test_the_weights_that_differ(audit):
    text, document = audit
    checkpoint = document["run"]["editors"][0]["checkpoint"]
    (weight,) = checkpoint["edited_weights"]
    assert (weight["name"], weight["shape"], weight["rank"]) == (WEIGHT, [576, 1536], 3)
    assert weight["change"] == pytest.approx(0.14, abs=0.04)
    assert checkpoint["compared"] == 272
    shown = PAGE.read_text(encoding="utf-8").splitlines()
    title = next(place for place, line in enumerate(shown) if line.startswith("Weights that differ"))
    for line in shown[title : title + 4]:
        assert line in text
    assert re.search(rf"{re.escape(WEIGHT)} +576 x 1536 +1\d\.\d %", text)


def test_an_adapter_with_the_same_change_gives_the_same(base, edited, audit):
    """The change of rank 3 as the factors of a LoRA adapter."""
    import torch
    from safetensors.torch import load_file, save_file

    before = load_file(base / "model.safetensors")[WEIGHT].float()
    u, s, v = torch.linalg.svd(load_file(edited / "my-model" / "model.safetensors")[WEIGHT].float() - before)
    (edited / "my-adapter").mkdir()
    name = "base_model.model.model.layers.9.mlp.down_proj.lora_{}.weight"
    factors = {name.format("A"): v[:3].contiguous(), name.format("B"): (u[:, :3] * s[:3] / 2).contiguous()}
    save_file(factors, edited / "my-adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 6, "target_modules": ["down_proj"]}
    (edited / "my-adapter" / "adapter_config.json").write_text(json.dumps(config))
    words = [
        "pytest",
        "--edited=my-adapter",
        f"--base={NAMED}",
        "--pitfalls-edits=edits.jsonl",
        "--pitfalls-json=a.json",
    ]
    done = run(edited, words, base)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    document = json.loads((edited / "a.json").read_text())
    assert document["run"]["editors"][0]["checkpoint"]["form"] == "LoRA adapter"
    for case, same in zip(audit[1]["cases"], document["cases"], strict=True):
        for probe, other in zip(case["probes"], same["probes"], strict=True):
            assert other["probabilities"] == pytest.approx(probe["probabilities"], rel=0.02, abs=1e-6)


def test_the_gates_of_the_page(base, edited, audit):
    """Stored results, so that only the verdict is made anew."""
    (words,) = [words for words in commands() if any("--pitfalls-gate" in word for word in words)]
    done = run(edited, words, base)
    assert "gate edits.es >= 0.9 (edited:my-model on" in done.stdout
    assert done.returncode in (0, 1), done.stdout + done.stderr
    assert "Weights that differ" in (edited / "audit.md").read_text(encoding="utf-8")


def test_every_command_has_options_that_exist(pytester):
    from pytest_editpitfalls.options.reading import build

    for words in commands():
        if words[0] == "pytest":
            found = build(pytester.parseconfig("-p", "no:cacheprovider", *words[1:]), ["json", "html", "markdown"])
            assert found.is_audit
            assert found.edits is not None
