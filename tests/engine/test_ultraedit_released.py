"""UltraEdit against the authors' code, where a checkout of XiaojieGu/UltraEdit is named in the environment."""

from __future__ import annotations

import copy
import os
import statistics
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.editors.ultraedit.editor import UltraEdit
from pytest_editpitfalls.engine.editors.ultraedit.hyperparameters import UltraEditHyperparameters
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.program import EditRequest
from tests.engine.token_gradient_editors import resources
from tests.tiny_models import tiny_model

CHECKOUT = Path(os.environ.get("EDITPITFALLS_ULTRAEDIT", ""))

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "editor" / "ultraedit.py").is_file(),
    reason="EDITPITFALLS_ULTRAEDIT names no checkout of XiaojieGu/UltraEdit",
)

TURNS = [
    [("The capital of {} is", "France", "Rome"), ("{} speaks", "Danielle Darrieux", "Russian")],
    [("The mother of {} is", "the king", "Japan and Italy"), ("{} was founded in", "The company", "Berlin")],
    [("The official language of {} is", "Brazil", "French"), ("The capital of {} is", "Japan", "London")],
]
BOUND = 1e-3


@pytest.fixture(scope="module")
def released() -> Iterator[Any]:
    """The authors' module; what it imports only to log and to configure is stood in for."""
    before = set(sys.modules)
    for name, attributes in {"wandb": {}, "nltk": {}, "omegaconf": {"DictConfig": dict, "OmegaConf": None}}.items():
        stand_in = types.ModuleType(name)
        vars(stand_in).update(attributes)
        sys.modules.setdefault(name, stand_in)
    environment = dict(os.environ)
    sys.path.insert(0, str(CHECKOUT))
    try:
        from editor.ultraedit import ULTRAEDIT  # type: ignore[import-not-found]

        yield ULTRAEDIT
    finally:
        sys.path.remove(str(CHECKOUT))
        os.environ.clear()
        os.environ.update(environment)  # its model.py hides the devices
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("editor", "util", "nets", "model", "wandb", "nltk", "omegaconf"):
                del sys.modules[name]


def theirs(
    ULTRAEDIT: Any, host: ModelAdapter, names: Sequence[str], lr: float, turns: Any, directory: Path
) -> list[Any]:
    """The authors' edited model after each turn, each turn one batch."""
    tokenizer_at = directory / "tokenizer"
    host.tokenizer.save_pretrained(tokenizer_at)
    model: Any = copy.deepcopy(host.model)
    for name in names:
        model.get_submodule(name).weight.requires_grad_(True)
    config = SimpleNamespace(
        model=SimpleNamespace(edit_modules=list(names), name_or_path=str(tokenizer_at), name="model"),
        editor=SimpleNamespace(name="ultraedit", lr=lr, batch_size=128, token="ans", cache_dir=str(directory)),
        dataset=SimpleNamespace(name="turns", n_edits=2, batch_size=2),
        num_seq=len(turns),
        editor_device="cpu",
        model_device="cpu",
    )
    editor = ULTRAEDIT(config, model)
    found = []
    for turn in turns:
        rows = [host.encoder.prompt(r.question) + host.encoder.target(r.target_new, r.joiner) for r in turn]
        asked = [len(host.encoder.prompt(r.question)) for r in turn]
        longest = max(map(len, rows)) - 1
        ids, mask, labels = (torch.full((len(rows), longest), fill) for fill in (0, 0, -100))
        for place, (row, start) in enumerate(zip(rows, asked, strict=True)):
            ids[place, : len(row) - 1] = torch.tensor(row[:-1])
            mask[place, : len(row) - 1] = 1
            labels[place, start - 1 : len(row) - 1] = torch.tensor(row[start:])
        editor.cache([{"input_ids": ids, "attention_mask": mask, "labels": labels}])
        editor.edit_model(editor.predict_param_shifts(), False)
        found.append(copy.deepcopy(model).requires_grad_(False))
    return found


def log_ps(model: Any, host: ModelAdapter, requests: Sequence[EditRequest]) -> list[float]:
    values: list[float] = []
    for request in requests:
        prompt = host.encoder.prompt(request.question)
        target = host.encoder.target(request.target_new, request.joiner)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + target]), use_cache=False).logits[0].log_softmax(-1)
        values += [float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(target)]
    return values


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen3", "smollm2-135m"])
def test_probabilities_agree_with_the_authors_code(released: Any, name: str, tmp_path: Path) -> None:
    """log p of all facts under the model after each of three turns; the moments grow over them."""
    if name == "smollm2-135m":
        session = EngineSession.open(EngineSettings(name, device="cpu", dtype="float32"))
        host, forward, layers, lr = session.host, session.forward, (19, 23, 27), 1e-3
    else:
        model, tokenizer = tiny_model(name, dtype=torch.float32)
        host = ModelAdapter.of(model, tokenizer, family_for(model.config))
        forward, layers, lr = Forward(host), (2, 3), 0.02
    turns = [[EditRequest(*each) for each in turn] for turn in TURNS]
    hp = UltraEditHyperparameters(layers=layers, lr=lr, warm_up=0, loss="mean")
    editor = UltraEdit(hp, resources(forward, tmp_path, 200))
    models = theirs(released, host, editor.weights(), lr, turns, tmp_path)
    asked = [request for turn in turns for request in turn]
    base, result = log_ps(host.model, host, asked), EditResult()
    apart: list[float] = []
    moved: list[float] = []
    for step, (turn, edited) in enumerate(zip(turns, models, strict=True), start=1):
        (result,) = editor.edit([EditJob("a", step, tuple(turn), result.model, result.state)])
        assert result.error is None
        with Overlay(host, [result.model]).serving(0):
            ours = log_ps(host.model, host, asked)
        expected = log_ps(edited, host, asked)
        apart += [abs(a - b) for a, b in zip(ours, expected, strict=True)]
        moved += [abs(a - b) for a, b in zip(expected, base, strict=True)]
    print(f"{name}: |d log p| median {statistics.median(apart):.2g}, at most {max(apart):.2g}; ", end="")
    print(f"the edits move log p by {statistics.median(moved):.2g} (median)")
    assert statistics.median(apart) <= BOUND
    assert statistics.median(moved) > 10 * BOUND
