"""An editor in an interpreter of its own: the same answers as here, and clear words where it goes wrong."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.outside.bridge import bridged_collection_editor, bridged_editor, is_bridged
from pytest_editpitfalls.engine.outside.bridge_model import take_over
from pytest_editpitfalls.engine.outside.bridge_worker import write_as_4
from pytest_editpitfalls.errors import CaseError, UsageError
from pytest_editpitfalls.store.sources import editor_source_digest
from tests.engine.test_in_place import Bench

EDITORS_THERE = """
import os

import torch


class HParams:
    @classmethod
    def from_hparams(cls, path):
        self = cls()
        self.scale, self.device = float(open(path).read()), 3
        return self


def edit(model, tok, requests, scale=2.0, hparams: HParams = None):
    if "target_new" in requests[0]:
        requests[0]["target_new"]["str"]
    if hparams:
        assert hparams.device == "cpu"
        scale = hparams.scale
    print("edited by", os.getpid())
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(float(scale))
    return model, {}


def spoilt(model, tok, requests, how=None):
    if how == "raise":
        raise ValueError("no such layer")
    if how == "die":
        os.kill(os.getpid(), 9)
    if how == "reshape":
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight[:-1].detach().clone())
    if how == "hook":
        model.model.register_forward_hook(print)
    return model
"""
PYTHON = Path(sys.executable)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("there")
    (folder / "over_there.py").write_text(EDITORS_THERE)
    return [str(folder)]


def editor(name: str, there: list[str]) -> Any:
    return bridged_editor(f"over_there:{name}", PYTHON, there, where="--editor", checked=False)


def test_it_answers_as_the_same_editor_here(there: list[str], monkeypatch: pytest.MonkeyPatch, capfd) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(there[0])
    import over_there  # type: ignore[import-not-found]

    (Path(there[0]) / "h.yaml").write_text("3")
    here = Bench(dtype=torch.float32).scores(over_there.edit, scale="3")
    bench = Bench(dtype=torch.float32)
    bridged = bench.scores(editor("edit", there), hparams=str(Path(there[0]) / "h.yaml"))
    assert (here[0].error, bridged[0].error) == (None, None)
    assert [probe.probabilities for probe in bridged[0].probes] == [probe.probabilities for probe in here[0].probes]
    assert not bridged[0].notes
    bench.check_restored()
    assert "edited by" in capfd.readouterr().out  # what it prints is told on


@pytest.fixture(scope="module")
def spoilt(there: list[str]) -> Any:
    return editor("spoilt", there)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "edit 1: ValueError: no such layer"),
        ("die", "edit 1: its process ended with signal SIGKILL"),
        ("hook", "edit 1: left a hook or another forward on 'model', which cannot come back"),
        ("reshape", "edit 1: returned 'lm_head.weight' of the shape ["),
    ],
)
def test_what_goes_wrong_is_said(spoilt: Any, how: str, words: str) -> None:
    bench = Bench(dtype=torch.float32)
    (answer,) = bench.scores(spoilt, how=how)
    assert words in (answer.error or "")
    bench.check_restored()


def test_a_model_that_answers_otherwise_there_is_refused(spoilt: Any) -> None:
    bench = Bench(dtype=torch.float32)
    # as a release that reads the configuration otherwise
    bench.model.config.rms_norm_eps = 0.5
    (answer,) = bench.scores(spoilt, how="nothing")
    assert "and it answers otherwise there than here" in (answer.error or "")


def test_what_was_added_to_the_model_is_refused(tmp_path: Path) -> None:
    save_file({"model.extra.weight": torch.ones(2)}, str(tmp_path / "changed.safetensors"))
    with pytest.raises(CaseError, match=r"returned a model with 'model\.extra\.weight', which this one does not have"):
        take_over(Bench(dtype=torch.float32).model, tmp_path / "changed.safetensors")


def test_what_collections_can_do_there_is_known_before(tmp_path: Path) -> None:
    table = tmp_path / "easyeditor" / "util" / "alg_dict.py"
    table.parent.mkdir(parents=True)
    table.write_text("from x import f\nALG_DICT = {'WISE': f, 'FINE': f}\n")
    named = {"easyedit": tmp_path}
    for algorithm, words in (
        ("FIN", "has no 'FIN'\n  fix: did you mean 'FINE'"),
        ("WISE", "WISE of zjunlp/EasyEdit attaches something to the model, and only weights come back"),
    ):
        with pytest.raises(UsageError, match=words):
            bridged_collection_editor(f"easyedit:{algorithm}", PYTHON, named, where="--editor")
    assert is_bridged(bridged_collection_editor("easyedit:FINE", PYTHON, named, where="--editor", checked=False))


def test_a_model_is_given_the_names_that_transformers_4_reads(tmp_path: Path) -> None:
    scaled = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0, "partial_rotary_factor": 0.5}
    both = {"full_attention": {"rope_theta": 1e6, "rope_type": "default"}, "sliding_attention": {"rope_theta": 1e4}}
    for config, more in (
        ({"dtype": "float32", "rope_parameters": {"rope_theta": 1e5}}, {"torch_dtype": "float32", "rope_theta": 1e5}),
        (
            {"rope_parameters": scaled},
            {
                "rope_theta": 5e5,
                "partial_rotary_factor": 0.5,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
            },
        ),
        ({"rope_parameters": both}, {"rope_theta": 1e6, "rope_local_base_freq": 1e4}),
        (
            {"model_type": "gpt_neox", "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.25}},
            {"rope_theta": 1e4, "partial_rotary_factor": 0.25, "rotary_emb_base": 1e4, "rotary_pct": 0.25},
        ),
    ):
        given: tuple[dict[str, Any], dict[str, Any]] = (config, {"tokenizer_class": "TokenizersBackend"})
        for file, values in zip(("config.json", "tokenizer_config.json"), given, strict=True):
            (tmp_path / file).write_text(json.dumps(values))
        write_as_4(tmp_path)
        assert json.loads((tmp_path / "config.json").read_text()) == {**config, **more}
        own = json.loads((tmp_path / "tokenizer_config.json").read_text())
        assert own == {"tokenizer_class": "PreTrainedTokenizerFast"}


def test_before_work_begins(there: list[str], tmp_path: Path) -> None:
    for path, python, words in (
        ("over_there:edit", tmp_path / "python", r"/python cannot be run: No such file or directory\n  fix: name"),
        ("over_there:edit", tmp_path, "cannot be run: Permission denied"),
        ("not_there:edit", PYTHON, r"ModuleNotFoundError: No module named 'not_there'\n  fix: install"),
    ):
        with pytest.raises(UsageError, match=words):
            bridged_editor(path, python, there, where="--editor")


def test_its_results_are_never_those_of_another_run(spoilt: Any) -> None:
    EDITORS.add("own", spoilt, origin="a test")
    try:
        assert editor_source_digest("own") is None
    finally:
        EDITORS.forget_added()
