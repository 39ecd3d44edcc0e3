"""Editors that others wrote, on the command line: a name of one's own, hparams files, tracebacks, what they print."""

from __future__ import annotations

import json

import pytest

OWN = """
from dataclasses import dataclass


@dataclass
class HParams:
    layer: int
    device: int
    scale: float = 2.0


def rome(model, tok, requests, hparams: HParams):
    for i in range(50):
        print("step", i)
    if hparams.scale == 13:
        deep(requests)
    import torch

    with torch.no_grad():
        model.model.layers[hparams.layer].mlp.down_proj.weight.mul_(hparams.scale)


def deep(requests):
    unlucky = 13
    raise ValueError("not this number")
"""
TINY = ("-p", "no:cacheprovider", "--pitfalls-suite=coverage", "--pitfalls-limit=1", "--pitfalls-json=o.json")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint directory of a tiny random Llama."""
    from tests.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


def test_a_name_like_a_shipped_editor_s_is_given_away_with_a_way_out(project):
    (project.path / "others.py").write_text(OWN)
    done = project.run("--editor=others:rome", editor=False)
    assert done.ret == 4
    done.stderr.fnmatch_lines(["*'rome' is the name of an editor that ships*", "*fix: *--editor=my-rome=others:rome*"])
    done = project.run("--editor=a=others:rome", "--editor=a=others:deep", editor=False)
    assert done.ret == 4
    done.stderr.fnmatch_lines(["*others:rome and others:deep would both be called 'a'*"])


def test_an_own_name_a_published_file_and_folded_output(tiny, pytester, run_here):
    (pytester.path / "others.py").write_text(OWN)
    (pytester.path / "llama.yaml").write_text("alg_name: ROME\nlayer: 1\nscale: 13\ndevice: 0\n")
    options = ("--editor=theirs=others:rome", "--pitfalls-config=llama.yaml", f"--model={tiny}", *TINY)
    done = pytester.runpytest_subprocess(*options, "--tb=long")
    done.stdout.fnmatch_lines(
        [
            "*'theirs' gets llama.yaml as its 'hparams'*",
            "*coverage*theirs*",
            "*def rome(model, tok, requests, hparams: HParams)*",
            "*unlucky = 13*",
            "*ValueError: not this number*",
            "The case is an error because of this:",
            "*coverage case*: editor 'theirs', edit 1: ValueError: not this number*",
            "step 0",
            "... and 44 more lines (-s shows them)",
            "*--editor=theirs=others:rome*",
        ],
        consecutive=False,
    )
    assert "step 40" not in done.stdout.str()
    assert "def outcome" not in done.stdout.str()  # none of our own frames
    plain = run_here(pytester.path, *options)
    assert "1 failed" in plain.stdout or "1 error" in plain.stdout
    assert "unlucky" not in plain.stdout
    (pytester.path / "llama.yaml").write_text("layer: 1\nscale: 3\n")
    done = run_here(pytester.path, *options, "-s")
    assert "step 49" in done.stdout
    (editor,) = json.loads((pytester.path / "o.json").read_text())["run"]["editors"]
    assert editor["hyper_parameters"] == {"hparams": {"layer": 1, "scale": 3}}


def test_pdb_lands_in_the_editor_s_code(tiny, pytester):
    (pytester.path / "others.py").write_text(OWN)
    (pytester.path / "llama.yaml").write_text("layer: 1\nscale: 13\n")
    (pytester.path / "p.py").write_text(
        "import pdb\nclass Pdb(pdb.Pdb):\n"
        "    def interaction(self, frame, tb=None):\n"
        "        while getattr(tb, 'tb_next', None): tb = tb.tb_next\n"
        "        print('stopped in', (tb.tb_frame if hasattr(tb, 'tb_frame') else frame).f_code.co_name)\n"
    )
    options = ("--editor=theirs=others:rome", "--pitfalls-set=theirs.hparams=llama.yaml", f"--model={tiny}", *TINY)
    done = pytester.runpytest_subprocess(*options, "--pdb", "--pdbcls=p:Pdb", "-s", "-p", "no:randomly")
    assert "stopped in deep" in done.stdout.str()
