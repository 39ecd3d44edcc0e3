"""What is one of a few values: said with the value that may have been meant, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pytest_editpitfalls.cli import noise
from pytest_editpitfalls.engine.editors.shipped import shipped_editors, training_options_of
from pytest_editpitfalls.errors import UsageError

LINES = {
    "--pitfalls-dtype=bf16": "'bfloat16'",
    "--pitfalls-dtype=flaot32": "'float32'",
    "--pitfalls-device=gpu": "'cuda'",
    "--pitfalls-device=cud:1": "'cuda:N'",
    "--pitfalls-dtype=4bit": "'nf4'",
    "--pitfalls-engine=rey": "'ray'",
    "--pitfalls-engine=lokal": "'local'",
    "--pitfalls-untaken=juge": "'judge'",
    "--pitfalls-inconclusive=exces": "'excess'",
    "--pitfalls-set=rome.v_lrr=1": "'v_lr'",
    "--pitfalls-set=rmoe.v_lr=1": "'rome'",
    "--pitfalls-config=wrong.toml": "'v_num_grad_steps'",
    "--pitfalls-gate=reverse.cs_ex >= 0.5": "'cs_exp'",
    "--pitfalls-gate=revers.cs_exp >= 0.5": "'reverse'",
    "--pitfalls-model=gtp2-xl": "'gpt2-xl'",
    "--pitfalls-suite=reverze": "'reverse'",
    "--pitfalls-editor=memmit": "'memit'",
    "suites build --out out --model smollm2-135": "'smollm2-135m'",
    "suites build --out out --model smollm2-135m --dtype fp16": "'float16'",
    "suites build --out out --model smollm2-135m --device gpu": "'cuda'",
    "suites build --out out --model smollm2-135m --suites revers": "'reverse'",
    "suites check reverse --model gtp2": "'gpt2'",
    "suites fetch pitfals": "'pitfalls'",
    "lint edits.jsonl --model smollm2-135m --device cuad": "'cuda'",
    "lint edits.jsonl --ignore duplicat": "'duplicate'",
    "train-mend --model gpt2 --data d.jsonl --out n.safetensors --set rnak=3": "'rank'",
    "train-rledit --model gpt2 --data d.jsonl --out n.safetensors --device cdua": "'cuda'",
    "compare a.json b.json --inconclusive fial": "'fail'",
    "noise --editor rome --vary sed=1": "'seed'",
    "noise --editor rome --vary dtype=float61": "'float64'",
}
"""Arguments of pytest, or of the command, and what the message asks whether it was meant."""

RUN = """
import contextlib, io, json, sys
sys.path.insert(0, {room!r})
import pytest
from pytest_editpitfalls.cli.app import main
found = {{}}
for line in json.loads(sys.stdin.read()):
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        if line.startswith("--"):
            editor = [] if line.startswith("--pitfalls-editor") else ["--pitfalls-editor=rome"]
            baseline = ["--pitfalls-baseline=b.json"] * ("inconclusive" in line)
            status = pytest.main(["-p", "no:cacheprovider", *editor, *baseline, line])
        else:
            try:
                main(line.split(" "))
                status = 0
            except SystemExit as ended:
                status = ended.code
    found[line] = [int(status), told.getvalue(), "torch" in sys.modules]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, bool]]:
    """Line -> status, message, and whether torch had been imported by then: one process, which starts without it."""
    folder = tmp_path_factory.mktemp("choices")
    (folder / "wrong.toml").write_text("[rome]\nv_num_grad_step = 3\n")
    (folder / "edits.jsonl").write_text("{}\n")
    (folder / "b.json").write_text("{}")
    src = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(room=src)],
        cwd=folder,
        input=json.dumps(list(LINES)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {line: tuple(found) for line, found in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.mark.parametrize("line", LINES)
def test_a_slip_is_told_before_torch_is_imported(told: dict[str, tuple[int, str, bool]], line: str) -> None:
    status, text, has_torch = told[line]
    assert status == 4
    said = " ".join(text.split())
    assert f"did you mean {LINES[line]}" in said
    assert not has_torch


def test_every_training_has_options_that_are_known_without_torch() -> None:
    assert all(training_options_of(each.name) is not None for each in shipped_editors() if each.training)


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("seed=99999999999999", "not a whole number from 0 to 4294967295"),
        ("seeds=0", "not a whole number of at least 1"),
        ("batch-size=0", "not a whole number of at least 1"),
        ("batch-size=-1", "not a whole number of at least 1"),
    ],
)
def test_a_variation_out_of_range_is_told_before_the_first_run(vary: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--vary {vary}.*{message}"):
        noise._checked(vary)
    assert noise._checked("seed=0") == "seed=0"
    assert noise._checked("batch-size=auto") == "batch-size=auto"


def test_products_that_this_machine_does_not_have_are_told_before_the_first_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--vary dtype=tf32: 'cpu' does not multiply in TF32"):
        noise._checked("dtype=tf32")
