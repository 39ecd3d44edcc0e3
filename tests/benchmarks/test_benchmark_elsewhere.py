"""Part `elsewhere`: editors from checkouts beside ours, on a tiny model; what cannot be run is said."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks import elsewhere
from benchmarks.elsewhere import one, pairs
from benchmarks.part import Asked
from tests.tiny_models import save_tiny

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.hyperparameters.released import read_released

FINE = """
from dataclasses import dataclass

import torch


@dataclass
class FTHyperParams:
    layers: list
    num_steps: int
    lr: float
    rewrite_module_tmp: str
    alg_name: str = "FT"

    @classmethod
    def from_hparams(cls, path):
        import yaml

        given = yaml.safe_load(open(path))
        return cls(**{key: given[key] for key in cls.__dataclass_fields__ if key in given})


def apply_ft(model, tok, requests, hparams: FTHyperParams):
    (request,) = requests
    (name,) = [hparams.rewrite_module_tmp.format(layer) for layer in hparams.layers]
    weight = model.get_parameter(name)
    model.requires_grad_(False)
    weight.requires_grad_(True)
    optimizer = torch.optim.Adam([weight], lr=hparams.lr)
    prompt = tok(request["prompt"], return_tensors="pt")["input_ids"]
    whole = tok(request["prompt"] + " " + request["target_new"], return_tensors="pt")["input_ids"]
    for _ in range(hparams.num_steps):
        optimizer.zero_grad()
        labels = whole.clone()
        labels[:, : prompt.shape[1]] = -100
        model(input_ids=whole, labels=labels).loss.backward()
        optimizer.step()
    return model, {}
"""


@pytest.fixture(autouse=True)
def no_editors_left() -> Any:
    yield
    EDITORS.forget_added()


@pytest.fixture
def checkouts(tmp_path: Path) -> Path:
    files = {
        "util/alg_dict.py": "from ..models.fine import FTHyperParams, apply_ft\nALG_DICT = {'FT': apply_ft}\n",
        "models/fine.py": FINE,
    }
    for name, text in files.items():
        path = tmp_path / "checkouts" / "EasyEdit" / "easyeditor" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "checkouts"


def test_both_get_one_file_and_are_compared(checkouts: Path, tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "tiny", "llama")
    (pair,) = [each for each in pairs.PAIRS if each.name == "EasyEdit FT-M"]
    values = {**pair.values, "layers": [1], "num_steps": 2}
    found = one.measured(replace(pair, values=values), checkouts, str(model), "cpu", tmp_path)
    assert found["answers"] == 20
    assert found["median"] < 1e-3 < found["moved"]
    assert found["seconds_ours"] > 0
    EDITORS.forget_added()
    other = replace(pair, values=values, own={"lr": 5e-3})
    assert one.measured(other, checkouts, str(model), "cpu", tmp_path)["median"] > 1e-2


@pytest.mark.parametrize("pair", pairs.PAIRS, ids=lambda pair: pair.name)
def test_ours_takes_the_file_of_every_pair(pair: pairs.Pair, tmp_path: Path) -> None:
    from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters

    kind = EDITORS.get(pair.ours).hyperparameter_class()
    table, _ = read_released(one.written(pair, tmp_path)).table(pair.ours, kind)
    resolve_hyperparameters(pair.ours, kind, "smollm2-135m", 30, {**table, **pair.own})


def test_what_cannot_be_run_is_said_and_what_was_is_kept(checkouts: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    figures = {"median": 2e-6, "max": 3e-5, "moved": 0.5, "seconds_theirs": 9.0, "seconds_ours": 2.0, "load": 3.0}
    asked = Asked(quick=False, device="cpu", model="no-such-model", checkouts=checkouts, kept=kept)
    for pair in pairs.PAIRS:
        if pair.collection == "easyedit":
            of = "other settings" if pair.name == "EasyEdit R-ROME" else elsewhere._digest(pair, asked, None)
            (kept / f"{pair.name.replace(' ', '-')}.json").write_text(json.dumps({**figures, "of": of}))
    made = elsewhere.measure(asked)
    rows = {line.split(" | ")[0]: line for line in made.markdown.splitlines() if line.startswith("| ")}
    assert "not run: there is no checkout rome |" in rows["| kmeng01 ROME (`rome:ROME`)"]
    assert "not run: --editor: zjunlp/EasyEdit has no 'R-ROME'" in rows["| EasyEdit R-ROME (`easyedit:R-ROME`)"]
    assert "| 0 | 2.0e-06 | 3.0e-05 | 0.50 | 9.0 | 2.0 | " in rows["| EasyEdit MEMIT (`easyedit:MEMIT`)"]
    assert "random: " in rows["| EasyEdit WISE (`easyedit:WISE`)"]
    assert json.loads((kept / "EasyEdit-R-ROME.json").read_text())["of"] == "other settings"
    assert "skipped" in elsewhere.measure(Asked(quick=True, device="cpu", model="tiny")).figures


def test_kept_figures_are_of_the_same_pair_and_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, pair = Asked(quick=False, device="cpu", model="tiny"), pairs.PAIRS[0]
    first = elsewhere._digest(pair, asked, "abc")
    assert elsewhere._digest(pair, asked, "abc") == first
    assert elsewhere._digest(pair, asked, "abd") != first
    assert elsewhere._digest(dataclasses.replace(pair, moments=not pair.moments), asked, "abc") != first
    monkeypatch.setattr(elsewhere, "engine_source_digest", lambda: "another")
    assert elsewhere._digest(pair, asked, "abc") != first
    broken = tmp_path / "broken.json"
    broken.write_text('{"of": ')
    assert elsewhere._read(broken) == elsewhere._read(tmp_path / "none.json") == {}
