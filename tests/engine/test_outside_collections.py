"""Collections of editors in a checkout: found by name, kept apart, called as their own program calls them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.in_place.declare import declaration_of
from pytest_editpitfalls.engine.outside.collection import collections_by_name, outside_editor
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.editor_labels import labels_of, with_collections
from tests.engine.test_in_place import Bench, program

EASYEDIT = {
    "easyeditor/__init__.py": "raise RuntimeError('everything is imported')\n",
    "easyeditor/models/__init__.py": "from .heavy import x\n",
    "easyeditor/util/__init__.py": "",
    "easyeditor/util/state.py": "CACHE_TEMPLATES = None\ncache_c = None\n",
    "easyeditor/util/alg_dict.py": (
        "from ..models.fine import FineHyperParams, apply_fine, Executor\n"
        "from ..models.lacks import LacksHyperParams, apply_lacks\n"
        "from ..models.other import other\n"
        "from ..models.data import data\n"
        "ALG_DICT = {'FINE': apply_fine, 'LACKS': apply_lacks, 'EXEC-1': Executor().apply_to_model,\n"
        "            'OTHER': other, 'DATA': data, 'ODD': 1 + 1}\n"
    ),
    "easyeditor/models/other.py": "raise ModuleNotFoundError('no', name='hydra.core')\n",
    "easyeditor/models/data.py": "raise ModuleNotFoundError('no', name='datasets.x')\n",
    "easyeditor/models/lacks.py": "import no_such_package_at_all\n",
    "easyeditor/models/fine.py": """
import os
from dataclasses import dataclass
from ..util import state


@dataclass
class FineHyperParams:
    layer: int
    device: int
    alg_name: str = "FINE"


SEEN = []


def apply_fine(model, tok, request, hparams: FineHyperParams, copy=False, **kwargs):
    import torch

    request = request[0]
    assert request["prompt"].startswith("The capital of France") or "Danielle" in request["prompt"], request
    assert request["ground_truth"] and request["loc_prompt"] and isinstance(request["target_new"], str)
    assert os.path.exists("easyeditor") and tok.padding_side == "left" and tok.pad_token
    assert hparams.device == "cpu" and torch.zeros(1, device="cuda").to("cuda:0").cuda().device.type == "cpu"
    assert state.cache_c is None or request["prompt"].startswith("Danielle"), "an edit of another case"
    state.CACHE_TEMPLATES = state.CACHE_TEMPLATES or torch.rand(1).item()
    state.cache_c = 1
    with torch.no_grad():
        model.model.layers[hparams.layer].mlp.down_proj.weight.mul_(2 + state.CACHE_TEMPLATES)
    return model, {}


class Executor:
    def apply_to_model(self, model, tok, requests, hparams, **kwargs):
        return apply_fine(model, tok, requests, hparams)
""",
}
ROME = {
    "globals.yml": "x: 1\n",
    "util/__init__.py": "open('globals.yml').close()\nWHO = '{who}'\n",
    "experiments/__init__.py": "",
    "experiments/evaluate.py": (
        "from rome import HParams, apply\nimport not_there\nALG_DICT = {{'ROME': (HParams, apply)}}\n"
    ),
    "rome/__init__.py": """
from dataclasses import dataclass
from util import WHO


@dataclass
class HParams:
    layer: int


def apply(model, tok, requests, hparams):
    import torch
    from util import WHO as now

    assert now == WHO == "{who}"
    assert requests[0]["prompt"].count("{{}}") == 1
    requests[0]["target_new"]["str"] = " " + requests[0]["target_new"]["str"]
    with torch.no_grad():
        model.model.layers[hparams.layer].mlp.down_proj.weight.mul_(3)
""",
}


def lay_out(folder: Path, files: dict[str, str], **words: str) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**words) if words else text)
    return folder


def test_what_there_is() -> None:
    assert set(collections_by_name()) == {"easyedit", "memit", "rome"}
    labels, paths = labels_of(["easyedit:R-ROME", "x=rome:ROME+mle", "rome:apply"])
    assert labels == ("easyedit-R-ROME", "x+mle", "apply")
    given = {"easyedit": {"hparams": "a"}, "rome": {"hparams": "b"}, "x": {"hparams": "c"}}
    assert with_collections(given, paths, labels) == {"easyedit-R-ROME": {"hparams": "a"}, "x": {"hparams": "c"}}
    both = with_collections({"rome": {"lr": 1}}, {"rome-ROME": "rome:ROME"}, ["rome", "rome-ROME"])
    assert both == {"rome": {"lr": 1}}  # the editor that ships is meant


def test_one_algorithm_needs_its_own_imports_alone(tmp_path: Path) -> None:
    checkout = lay_out(tmp_path / "EasyEdit", EASYEDIT)
    (checkout / "hparams").mkdir()
    (checkout / "hparams" / "tiny.yaml").write_text("alg_name: FINE\nlayer: 1\ndevice: 3\n")
    modules, path, here = set(sys.modules), list(sys.path), os.getcwd()
    for algorithm in ("FINE", "EXEC-1"):
        edit = outside_editor(f"easyedit:{algorithm}", {"easyedit": checkout}, where="--editor")
        bench = Bench()
        answers = [bench.scores(edit, hparams="hparams/tiny.yaml")[0] for _ in range(2)]
        assert answers[0].error is None, answers[0].error
        assert answers[0].probes == answers[1].probes
        assert not answers[0].notes
        bench.check_restored()
    assert {name for name in sys.modules if name.startswith("easyeditor")} <= modules
    assert (sys.path, os.getcwd()) == (path, here)
    assert declaration_of("x", edit, where="y").title == "EXEC-1 (zjunlp/EasyEdit)"


def test_two_checkouts_with_modules_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    files = {"rome": ROME, "memit": {**ROME, "memit/__init__.py": ""}}
    editors = [
        outside_editor(f"{name}:ROME", {name: lay_out(tmp_path / name, files[name], who=name)}, where="--editor")
        for name in ("rome", "memit")
    ]
    for edit in (*editors, *editors):
        (answer,) = Bench().scores(edit, hparams="{layer = 1}")
        assert answer.error is None, answer.error


def test_what_is_wrong_is_said_before_work_begins(tmp_path: Path) -> None:
    checkout = lay_out(tmp_path / "EasyEdit", EASYEDIT)
    checkouts: dict[str, Any] = {"easyedit": checkout}
    for algorithm, words in (
        ("FIN", r"has no 'FIN'\n  fix: did you mean 'FINE'"),
        ("LACKS", r"needs 'no_such_package_at_all' for LACKS.*\n  fix: pip install no_such_package_at_all"),
        ("OTHER", r"needs 'hydra\.core' for OTHER.*\n  fix: pip install hydra-core;"),
        ("DATA", r"needs 'datasets\.x' for DATA.*\n  fix: pip install \"pytest-editpitfalls\[easyedit\]\";"),
        ("ODD", r"'1 \+ 1' is made of more than imported names"),
    ):
        with pytest.raises(UsageError, match=words):
            outside_editor(f"easyedit:{algorithm}", checkouts, where="--editor")
    with pytest.raises(UsageError, match=r"no checkout of zjunlp/EasyEdit is on sys.path\n  fix: git clone"):
        outside_editor("easyedit:FINE", {}, where="--editor")
    with pytest.raises(UsageError, match=r"is no checkout of zjunlp/EasyEdit: there is no easyeditor/util/"):
        outside_editor("easyedit:FINE", {"easyedit": tmp_path}, where="--editor")


FIRST_ALONE = """
def apply(model, tok, request):
    request = request[0]
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] += 1
    model.model.layers[1].mlp.down_proj.weight.data[0, len(request["target_new"])] += 1
    return model, {}


class Around:
    def __init__(self, model):
        self.model, self.seen = model, 0


def wrapping(model, tok, requests):
    around = model if isinstance(model, Around) else Around(model)
    around.seen += 1
    apply(around.model, tok, requests)
    assert around.seen == 1 or len(requests[0]["target_new"]) > 4
    return around, {}
"""


def test_what_writes_one_request_is_called_for_each(tmp_path: Path) -> None:
    files = {
        "easyeditor/util/alg_dict.py": (
            "from ..models.one import apply, wrapping\nALG_DICT = {'ROME': apply, 'GRACE': wrapping, 'FT': apply}\n"
        ),
        "easyeditor/models/one.py": FIRST_ALONE,
    }
    checkouts = {"easyedit": lay_out(tmp_path / "EasyEdit", files)}
    for algorithm, times in (("ROME", 3), ("GRACE", 3), ("FT", 1)):
        bench = Bench()
        editor = bench.editor(outside_editor(f"easyedit:{algorithm}", checkouts, where="--editor"))
        requests = program(together=3).steps[0]
        (result,) = editor.edit([EditJob("P0001", 1, requests, ())])
        assert result.error is None, result.error
        name = "model.layers.1.mlp.down_proj.weight"
        change = (result.model[0].values[name] - bench.before[name])[0]
        assert change[0].round() == times
        assert (change[4 : 4 + 3] > 0.5).sum() == times  # "Rome", "Rome!", "Rome!!"


def test_rome_and_memit_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rome = lay_out(tmp_path / "a", ROME, who="rome")
    memit = lay_out(tmp_path / "b", {**ROME, "memit/__init__.py": ""}, who="memit")
    with pytest.raises(UsageError, match=r"b is no checkout of kmeng01/rome: there is a memit in it") as caught:
        outside_editor("rome:ROME", {"rome": memit}, where="--editor")
    assert caught.value.where == "--pitfalls-checkout rome"
    with pytest.raises(UsageError, match=r"a is no checkout of kmeng01/memit: there is no memit in it"):
        outside_editor("memit:ROME", {"memit": rome}, where="--editor")
    monkeypatch.syspath_prepend(memit)
    with pytest.raises(UsageError, match=r"no checkout of kmeng01/rome is on sys\.path"):
        outside_editor("rome:ROME", {}, where="--editor")
    monkeypatch.setattr(sys, "path", [*sys.path, str(rome)])  # behind the other one
    for name in ("rome", "memit"):
        (answer,) = Bench().scores(outside_editor(f"{name}:ROME", {}, where="--editor"), hparams="{layer = 1}")
        assert answer.error is None, answer.error


def test_a_module_of_one_s_own_may_have_a_collection_s_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path / "own", {"rome.py": "class MyEditor:\n    Inner = print\n"})
    monkeypatch.syspath_prepend(tmp_path / "own")
    monkeypatch.delitem(sys.modules, "rome", raising=False)
    with pytest.raises(UsageError, match=r"no checkout of kmeng01/rome is on sys\.path") as caught:
        outside_editor("rome:Other", {}, where="--editor")
    assert "of your own is meant" in (caught.value.fix or "")
    found: Any = outside_editor("rome:MyEditor", {}, where="--editor")
    assert found.__name__ == "MyEditor"
    assert outside_editor("rome:MyEditor.Inner", {}, where="--editor") is print
    checkout = lay_out(tmp_path / "rome", ROME, who="rome")
    with pytest.raises(UsageError, match="kmeng01/rome has no 'MyEditor'"):
        outside_editor("rome:MyEditor", {"rome": checkout}, where="--editor")  # it was named: it is meant
    monkeypatch.setattr(sys, "path", [*sys.path, str(checkout)])
    assert outside_editor("rome:MyEditor", {}, where="--editor") is found
    assert outside_editor("rome:ROME", {}, where="--editor").__name__ == "ROME"
    del sys.modules["rome"]


OF_2022 = """
import torch


def apply(model, tok, requests):
    width = model.get_input_embeddings().weight.shape[1]
    assert model.config.n_embd == width and model.config.n_positions > 16
    seen = []

    def add(module, given, returned):
        seen.append(type(returned))
        assert returned[0].shape[-1] == width and returned[0].dim() == 3
        returned[0][0, 1, :] += torch.arange(width)
        return returned

    tokens = tok("The capital of France is", return_tensors="pt")["input_ids"]
    before = model(tokens).logits
    handle = model.get_submodule(BLOCKS)[1].register_forward_hook(add)
    with torch.no_grad():
        moved = model(tokens).logits
        handle.remove()
    assert seen == [tuple] and (moved[0, 1] - before[0, 1]).abs().max() > 1e-3
    first = model(tokens[:, :3], use_cache=True)
    mask = torch.ones_like(tokens)
    for place in (3, 4):
        first = model(
            input_ids=tokens[:, place : place + 1],
            attention_mask=mask[:, place : place + 1],
            past_key_values=first.past_key_values,
            use_cache=True,
        )
        assert torch.allclose(first.logits[0, -1], before[0, place])
    with torch.no_grad():
        model.get_submodule(BLOCKS)[1].mlp.WHICH.weight.mul_(2)
"""


@pytest.mark.parametrize("name", ["rome", "memit"])
@pytest.mark.parametrize(
    ("family", "blocks", "which"), [("llama", "model.layers", "down_proj"), ("gpt2", "transformer.h", "c_proj")]
)
def test_code_of_2022_finds_what_transformers_gave_it_then(
    tmp_path: Path, name: str, family: str, blocks: str, which: str
) -> None:
    code = OF_2022.replace("BLOCKS", repr(blocks)).replace("WHICH", which)
    files = {"experiments/evaluate.py": "from rome.code import apply\nALG_DICT = {'ROME': apply}\n"}
    files |= {"rome/code.py": code} | ({"memit/__init__.py": ""} if name == "memit" else {})
    edit = outside_editor(f"{name}:ROME", {name: lay_out(tmp_path / name, files)}, where="--editor")
    bench = Bench(family)
    kinds, config = [type(each) for each in bench.model.modules()], dict(vars(bench.model.config))
    (answer,) = bench.scores(edit)
    assert answer.error is None, answer.error
    assert [type(each) for each in bench.model.modules()] == kinds
    assert vars(bench.model.config) == config
    bench.check_restored()


def test_a_package_that_imports_everything_is_run_when_a_name_is_taken_from_it(tmp_path: Path) -> None:
    files = {
        "easyeditor/trainer/__init__.py": "from .algs import *\nfrom .heavy import *\n",
        "easyeditor/trainer/heavy.py": "import no_such_package_at_all\n",
        "easyeditor/trainer/algs/__init__.py": "from .one import *\n",
        "easyeditor/trainer/algs/one.py": "class One:\n    pass\n",
        "easyeditor/models/ultra.py": "from ..trainer.algs.one import One\n\ndef apply(model, tok, requests): One()\n",
        "easyeditor/models/mend.py": "from ..trainer import One\n\ndef apply(model, tok, requests): One()\n",
        "easyeditor/models/serac.py": "from ..trainer.algs import One\n\ndef apply(model, tok, requests): One()\n",
        "easyeditor/util/alg_dict.py": (
            "from ..models.ultra import apply as ultra\nfrom ..models.mend import apply as mend\n"
            "from ..models.serac import apply as serac\nALG_DICT = {'ULTRA': ultra, 'MEND': mend, 'SERAC': serac}\n"
        ),
    }
    checkouts = {"easyedit": lay_out(tmp_path / "EasyEdit", files)}
    for algorithm in ("ULTRA", "SERAC"):
        assert outside_editor(f"easyedit:{algorithm}", checkouts, where="--editor").__name__ == algorithm
    with pytest.raises(UsageError, match=r"needs 'no_such_package_at_all' for MEND"):
        outside_editor("easyedit:MEND", checkouts, where="--editor")


def test_a_package_that_an_edit_runs_is_run_for_each_case(tmp_path: Path) -> None:
    files = {
        "easyeditor/trainer/__init__.py": "VALUE = 7\n",
        "easyeditor/models/one.py": (
            "def apply(model, tok, requests):\n    from ..trainer import VALUE\n    assert VALUE == 7\n"
            "    model.lm_head.weight.data.mul_(1.1)\n"
        ),
        "easyeditor/util/alg_dict.py": "from ..models.one import apply\nALG_DICT = {'ONE': apply}\n",
    }
    edit = outside_editor("easyedit:ONE", {"easyedit": lay_out(tmp_path / "EasyEdit", files)}, where="--editor")
    bench = Bench("gpt2")
    for _ in range(3):
        (answer,) = bench.scores(edit)
        assert answer.error is None, answer.error


@pytest.mark.parametrize("missing", ["n_positions", "n_embd"])
def test_a_model_whose_configuration_lacks_a_name_is_edited_all_the_same(missing: str) -> None:
    """BLOOM has no limit of positions; models of images and text have both names one level below."""
    from pytest_editpitfalls.engine.outside.former_transformers import as_in_2022

    model = Bench("bloom").model if missing == "n_positions" else Bench("gpt2").model
    with as_in_2022(model, "transformer.h"):
        assert hasattr(model.config, "n_embd")
        assert hasattr(model.config, "n_positions") == (missing != "n_positions")
