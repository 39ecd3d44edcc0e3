"""What an edit leaves in a checkout's modules: the next case does not find it, caches apart."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_editpitfalls.engine.outside import checkout as checkouts
from pytest_editpitfalls.engine.outside.checkout import Checkout
from pytest_editpitfalls.engine.outside.collection import outside_editor
from tests.engine.test_in_place import Bench
from tests.engine.test_outside_collections import lay_out

OTHER = """
import threading
from collections import OrderedDict, defaultdict
import torch

SEEN, NAMES, COUNTS = [], {"a": {"deep": [1]}}, defaultdict(int)
INNER = NAMES["a"]
ORDER, TENSOR, HELD = OrderedDict(x=1), torch.zeros(2), [threading.Lock()]
LEVEL, PATCHED = 1, len
RECOVERED = None
COV_CACHE, CONTEXT_TEMPLATES_CACHE, inv_mom2_cache = {}, None, {}


class Config:
    shared = []

    def __init__(self):
        self.steps = [0]

    def method(self):
        return 1


CONFIG = Config()
CONFIGS = [CONFIG]
"""
FILES = {
    "easyeditor/util/alg_dict.py": "from ..models.fine import apply_fine\nALG_DICT = {'FINE': apply_fine}\n",
    "easyeditor/util/other.py": OTHER,
    "easyeditor/models/late.py": "from ..util.other import NAMES\nNAMES['late'] = 1\nSEEN = []\n",
    "easyeditor/models/fine.py": """
from dataclasses import dataclass
from ..util import other
from ..util.other import SEEN, CONFIG


@dataclass
class FineHyperParams:
    layer: int = 1


def apply_fine(model, tok, requests, hparams: FineHyperParams):
    raise AssertionError
""",
}

CHANGES: dict[str, tuple[Callable[[Any], object], Callable[[Any], bool]]] = {
    "a list": (lambda m: m.SEEN.append(1), lambda m: m.SEEN == []),
    "a nested table": (lambda m: m.NAMES["a"]["deep"].append(2), lambda m: m.NAMES == {"a": {"deep": [1]}}),
    "a table with defaults": (lambda m: m.COUNTS["x"], lambda m: not m.COUNTS),
    "a table in order": (lambda m: m.ORDER.pop("x"), lambda m: list(m.ORDER) == ["x"]),
    "a tensor": (lambda m: m.TENSOR.add_(1), lambda m: not m.TENSOR.any()),
    "what cannot be copied": (lambda m: m.HELD.append(1), lambda m: len(m.HELD) == 1),
    "a name": (lambda m: setattr(m, "LEVEL", 2), lambda m: m.LEVEL == 1),
    "a function": (lambda m: setattr(m, "PATCHED", max), lambda m: m.PATCHED is len),
    "a name that was not there": (lambda m: setattr(m, "cache_c", 1), lambda m: not hasattr(m, "cache_c")),
    "a name that went": (lambda m: delattr(m, "LEVEL"), lambda m: getattr(m, "LEVEL", 0) == 1),
    "an object": (lambda m: m.CONFIG.steps.append(1), lambda m: m.CONFIG.steps == [0]),
    "a new attribute": (lambda m: setattr(m.CONFIG, "x", 1), lambda m: not hasattr(m.CONFIG, "x")),
    "a class": (lambda m: m.Config.shared.append(1), lambda m: m.Config.shared == []),
    "a method": (lambda m: setattr(m.Config, "method", lambda self: 2), lambda m: m.CONFIG.method() == 1),
    "no cache by its letters": (lambda m: setattr(m, "RECOVERED", 1), lambda m: m.RECOVERED is None),
}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """The one that an editor is made of."""
    made: list[Checkout] = []

    class Noted(Checkout):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr("pytest_editpitfalls.engine.outside.collection.Checkout", Noted)
    outside_editor("easyedit:FINE", {"easyedit": lay_out(tmp_path / "EasyEdit", FILES)}, where="--editor")
    return made[0]


def other(checkout: Checkout) -> Any:
    return checkout._modules["easyeditor.util.other"]


@pytest.mark.parametrize("what", CHANGES)
def test_what_an_edit_changed_is_put_back(checkout: Checkout, what: str) -> None:
    change, is_as_before = CHANGES[what]
    user = object()
    for _ in range(3):  # the second time the copy would be what was changed
        checkout.forget_edits(user)
        assert is_as_before(other(checkout))
        change(other(checkout))
        assert not is_as_before(other(checkout))
    checkout.forget_edits(user)
    fine: Any = checkout._modules["easyeditor.models.fine"]
    assert is_as_before(other(checkout))
    assert fine.SEEN is other(checkout).SEEN  # both are still one object
    assert fine.CONFIG is other(checkout).CONFIG is other(checkout).CONFIGS[0]
    assert other(checkout).INNER is other(checkout).NAMES["a"]
    assert isinstance(other(checkout).HELD[0], type(threading.Lock()))


def test_a_module_that_an_edit_imported_is_imported_anew(checkout: Checkout) -> None:
    for _ in range(2):
        checkout.forget_edits()
        assert "late" not in other(checkout).NAMES
        with checkout.entered():
            from easyeditor.models import late  # type: ignore[import-not-found]

            assert late.SEEN == []
            assert "late" in other(checkout).NAMES  # it ran, and did what an import does elsewhere
            late.SEEN.append(1)
        with checkout.entered():
            from easyeditor.models import late as again

            assert again.SEEN == [1]  # the next step of the case


def test_caches_are_kept_for_one_model_and_seed(checkout: Checkout) -> None:
    first, second = object(), object()
    checkout.forget_edits(first)
    module = other(checkout)
    module.COV_CACHE["a"], module.CONTEXT_TEMPLATES_CACHE, module.inv_mom2_cache["a"] = 1, ["{}"], 1
    checkout.forget_edits(first)
    assert (module.COV_CACHE, module.CONTEXT_TEMPLATES_CACHE, module.inv_mom2_cache) == ({"a": 1}, ["{}"], {"a": 1})
    checkout.forget_edits(second)
    assert (module.COV_CACHE, module.CONTEXT_TEMPLATES_CACHE, module.inv_mom2_cache) == ({}, None, {})


def test_two_models_do_not_share_templates(tmp_path: Path) -> None:
    files = {
        "easyeditor/util/alg_dict.py": "from ..models.fine import apply\nALG_DICT = {'FINE': apply}\n",
        "easyeditor/models/fine.py": (
            "CONTEXT_TEMPLATES_CACHE = None\n"
            "def apply(model, tok, requests):\n"
            "    global CONTEXT_TEMPLATES_CACHE\n"
            "    CONTEXT_TEMPLATES_CACHE = CONTEXT_TEMPLATES_CACHE or id(model)\n"
            "    assert CONTEXT_TEMPLATES_CACHE == id(model), 'templates of another model'\n"
            "    model.model.layers[1].mlp.down_proj.weight.data.mul_(2)\n"
        ),
    }
    edit = outside_editor("easyedit:FINE", {"easyedit": lay_out(tmp_path / "EasyEdit", files)}, where="--editor")
    benches = [Bench(), Bench()]  # both models are there at once
    for bench in benches:
        (answer,) = bench.scores(edit)
        assert answer.error is None, answer.error


def test_the_folders_are_looked_through_once(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkouts, "_is_code", lambda path: pytest.fail("looked again"))
    for _ in range(2):
        with checkout.entered():
            pass
        checkout.forget_edits()


def test_a_folder_of_data_is_not_walked_to_its_end(tmp_path: Path) -> None:
    lay_out(tmp_path, {"data/a/b/c/d.py": "", "code/a/b.py": "", "single.py": "", "no-code.py": ""})
    assert Checkout(tmp_path).names() == {"code", "single"}
