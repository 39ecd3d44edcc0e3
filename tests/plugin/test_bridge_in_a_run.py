"""Editors in an interpreter of their own, on the command line: in one process, in workers, and where nothing runs."""

from __future__ import annotations

import json
import os
import sys

import pytest
import torch  # noqa: F401 - once: pytester puts sys.modules back after each run
from tests.tiny_models import save_tiny

EVALUATE = """
from rome import HParams, apply

ALG_DICT = {"ROME": (HParams, apply)}
"""
ROME = """
import json
import os
from dataclasses import dataclass

with open(os.environ["WHO_IMPORTS"], "a") as file:
    print(os.getpid(), file=file)


@dataclass
class HParams:
    layer: int

    @classmethod
    def from_json(cls, path):
        return cls(**json.load(open(path)))


def apply(model, tok, requests, hparams: HParams):
    import torch

    assert requests[0]["target_new"]["str"] and os.path.exists("experiments")
    with torch.no_grad():
        model.model.layers[hparams.layer].mlp.down_proj.weight.mul_(1 + torch.rand(1).item())
    return model, {}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint directory of a tiny random Llama."""
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


@pytest.fixture
def run(tiny, pytester, monkeypatch):
    """Run ROME of a checkout; ids of the processes that have imported it are in imports.txt."""
    for name, text in (("experiments/evaluate.py", EVALUATE), ("rome/__init__.py", ROME), ("h.json", '{"layer": 1}')):
        path = pytester.path / "checkout" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    imports = pytester.path / "imports.txt"
    monkeypatch.setenv("WHO_IMPORTS", str(imports))
    monkeypatch.setenv("COLUMNS", "200")
    options = ["-p", "no:cacheprovider", "--editor=rome:ROME", "--pitfalls-checkout=rome=checkout", f"--model={tiny}"]
    options += ["--pitfalls-set=rome.hparams=h.json", "--pitfalls-suite=inverse", "--pitfalls-limit=1"]

    def run(*args: str) -> tuple[pytest.RunResult, list[str]]:
        imports.write_text("")
        done = pytester.runpytest_inprocess(*options, "--pitfalls-json=out.json", "--pitfalls-fresh", *args)
        return done, imports.read_text().split()

    return run


def answers(pytester):
    """What the cases have come to."""
    cases = json.loads((pytester.path / "out.json").read_text())["cases"]
    assert cases
    return [[case[name] for name in ("id", "outcome", "metrics", "probes", "notes")] for case in cases]


def test_a_collection_s_editor_answers_there_as_here(run, pytester):
    there = f"--pitfalls-editor-python={sys.executable}"
    done, imports = run("--collect-only", there)
    assert (done.ret, imports) == (0, [])

    done, imports = run("-s")
    assert imports == [str(os.getpid())]
    here = answers(pytester)

    done, imports = run("-s", there)
    assert (len(imports), len(set(imports)), str(os.getpid()) in imports) == (
        2,
        2,
        False,
    )  # it is checked, and it edits
    assert answers(pytester) == here
    screen = done.stdout.str() + done.stderr.str()
    assert "rome-ROME: each edit starts" in screen
    assert "%|" not in screen  # no progress bar

    done, imports = run("-n2", there)
    assert len(imports) == 2  # workers do not check it again
    assert answers(pytester) == here
