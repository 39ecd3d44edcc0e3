"""SimIE: against the matrices of its paper, batches, chains, and the authors' code where a checkout is named."""

from __future__ import annotations

import copy
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.simie.editor import Simie
from pytest_editpitfalls.engine.editors.simie.hyperparameters import SimieHyperparameters
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import FoldedDelta, folded
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.locate_then_edit import CORPUS, REQUESTS, TEMPLATES, WEIGHT
from tests.engine.token_gradient_editors import assert_close, total

FAMILIES = ["gpt2", "llama", "gpt_neox"]
CHECKOUT = Path(os.environ.get("EDITPITFALLS_SIMIE", ""))
STEPS = [REQUESTS[:2], REQUESTS[2:3], REQUESTS[1:2]]


def make(forward: Forward, tmp_path: Path, method: str = "memit", hparams: Any = None, **values: Any) -> Simie:
    (tmp_path / "corpus.txt").write_text(CORPUS, encoding="utf-8")
    inner: dict[str, Any] = {
        "layers": [0, 2] if method != "rome" else [2],
        "context_templates": TEMPLATES,
        "mom2_corpus": str(tmp_path / "corpus.txt"),
        "mom2_ridge": 0.1,
        "v_num_grad_steps": 6,
        "v_lr": 0.3,
        "clamp_norm_factor": 2.0,
    }
    if method == "memit":
        inner["mom2_update_weight"] = WEIGHT
    hp = SimieHyperparameters(editing_method=method, hparams=inner | (hparams or {}), **({"lamHyper": 3.0} | values))
    moments = SecondMoments(forward, fingerprint="tiny", cache=tmp_path, max_tokens=500)
    return Simie(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))


class Plain:
    """Dense matrices, written into a copy of the model; ``inner`` is asked for the other editor's update alone."""

    def __init__(self, editor: Simie, lam: float, init: bool) -> None:
        self.host: ModelAdapter = editor._host
        self.editor, self.lam, self.init = editor, lam, init
        self.base: Any = copy.deepcopy(self.host.model)
        self.model: Any = copy.deepcopy(self.host.model)
        self.products: dict[str, Tensor] = {}
        self.updates: dict[str, Tensor] = {}
        self.state: Any = None

    def keys(self, requests: Any) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {}
        model = self.base if self.init else self.model
        for request in requests:
            prompt = naive.prompt_ids(self.host.tokenizer, request.question)
            ids = prompt + naive.target_ids(self.host.tokenizer, request.question, request.target_new)
            handles = [
                model.get_submodule(name).register_forward_pre_hook(
                    lambda _m, args, name=name: found.setdefault(name, []).append(args[0].flatten(0, -2))
                )
                for name in self.editor.weights()
            ]
            with torch.no_grad():
                model(input_ids=torch.tensor([ids]), use_cache=False)
            for handle in handles:
                handle.remove()
        return {name: torch.cat(parts) for name, parts in found.items()}

    def edit(self, step: int, requests: Any, model: Any) -> None:
        keys = self.keys(requests)
        start = () if self.init else model
        (found,) = self.editor._inner.edit([EditJob("a", step, tuple(requests), start, self.state)])
        self.state = found.state
        inner = total(EditResult(found.model[len(start) :]))
        for name, rows in keys.items():
            k = rows.T
            size = torch.eye(len(k), dtype=k.dtype)
            self.products[name] = self.products.get(name, self.lam * size) + k @ k.T
            before = self.updates.get(name, torch.zeros_like(inner[name]))
            wanted = inner[name] - before if self.init else inner[name]
            change = wanted @ k @ k.T @ torch.linalg.inv(self.products[name])
            self.updates[name] = before + change
            module = self.model.get_submodule(name)
            with torch.no_grad():
                module.weight += change.T if type(module).__name__ == "Conv1D" else change


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_chain_is_the_paper_s(name: str, init: bool, tmp_path: Path) -> None:
    editor = make(make_forward(name, torch.float64), tmp_path, init_model=init)
    plain, result = Plain(editor, 3.0, init), EditResult()
    for step, requests in enumerate(STEPS, start=1):
        plain.edit(step, requests, result.model)
        (result,) = editor.edit([EditJob("a", step, tuple(requests), result.model, result.state)])
        assert result.error is None
        assert_close(total(result), plain.updates, 1e-6)


@pytest.mark.parametrize("method", ["memit", "rome", "alphaedit"])
@pytest.mark.parametrize("name", FAMILIES)
def test_batched_equals_one_by_one(name: str, method: str, tmp_path: Path) -> None:
    hparams = {"nullspace_threshold": 0.3} if method == "alphaedit" else {}
    editor = make(make_forward(name, torch.float64), tmp_path, method, hparams)
    firsts = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS[:3])]
    together = editor.edit(firsts)
    seconds = [
        EditJob(job.case_id, 2, (REQUESTS[3],), result.model, result.state)
        for job, result in zip(firsts, together, strict=True)
    ]
    for jobs, results in ((firsts, together), (seconds, editor.edit(seconds))):
        for job, result in zip(jobs, results, strict=True):
            assert_close(total(result), total(editor.edit([job])[0]), 1e-6)


def test_the_first_edit_is_the_other_editor_s_up_to_lambda(tmp_path: Path) -> None:
    """With a small lambda the recast update does to the edit's tokens what the other editor's does."""
    editor = make(make_forward("llama", torch.float64), tmp_path, lamHyper=1e-5)
    plain = Plain(editor, 1e-5, False)
    job = EditJob("a", 1, (REQUESTS[0],))
    own, inner = total(editor.edit([job])[0]), total(editor._inner.edit([job])[0])
    for name, keys in plain.keys(job.requests).items():
        assert float((own[name] @ keys.T - inner[name] @ keys.T).norm()) < 1e-3 * float((inner[name] @ keys.T).norm())


def test_a_folded_chain_goes_on(tmp_path: Path) -> None:
    """A long chain's deltas become a matrix; with init_model its share is still taken off."""
    editor = make(make_forward("gpt2", torch.float64), tmp_path, init_model=True)
    first = editor.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    dense = tuple(FoldedDelta(each.module, each.u @ each.v.T) for each in first.model)  # type: ignore[union-attr]
    job = EditJob("a", 2, (REQUESTS[1],), first.model, first.state)
    plain, other = editor.edit([job])[0], editor.edit([EditJob("a", 2, (REQUESTS[1],), dense, first.state)])[0]
    assert folded(first.model)
    assert_close(total(EditResult(plain.model[2:])), total(EditResult(other.model[2:])), 1e-9)


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown hyper-parameter 'v_lrr'") as caught:
        make(make_forward("gpt2"), tmp_path, hparams={"v_lrr": 1})
    assert "simie.hparams, for memit" in str(caught.value)
    with pytest.raises(UsageError, match="norm after the MLP"):
        make(make_forward("gemma3"), tmp_path)
    with pytest.raises(ValueError, match="editing_method"):
        SimieHyperparameters(editing_method="ft")


@pytest.fixture
def released() -> Iterator[Any]:
    """The authors' class, without the rest of their EasyEdit."""
    if not (CHECKOUT / "easyeditor" / "models" / "simie" / "simie_main.py").is_file():
        pytest.skip("EDITPITFALLS_SIMIE names no checkout of YamingGuo98/SimIE")
    names = ["easyeditor", "easyeditor.models", "easyeditor.models.simie", "easyeditor.util"]
    for name in names:
        package = types.ModuleType(name)
        package.__path__ = [str(CHECKOUT.joinpath(*name.split(".")))]
        sys.modules[name] = package
    try:
        from easyeditor.models.simie.simie_main import SimIE  # type: ignore[import-not-found]

        yield SimIE
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "easyeditor"]:
            del sys.modules[name]


@pytest.mark.parametrize("init", [False, True])
@pytest.mark.parametrize(("name", "called"), [("gpt2", "gpt2-xl"), ("llama", "llama")])
def test_probabilities_agree_with_the_authors_code(
    released: Any, name: str, called: str, init: bool, tmp_path: Path
) -> None:
    """Three steps; their class is given the other editor's update and does the rest, on a CPU."""
    forward = make_forward(name, torch.float32)
    host = forward.host
    editor = make(forward, tmp_path, init_model=init)
    model: Any = copy.deepcopy(host.model).requires_grad_(True)
    weights = {f"{module}.weight": model.get_submodule(module).weight for module in editor.weights()}
    theirs = released(3.0, init)
    theirs.initializtion(called, weights, device=0, fast=False)
    theirs.device = "cpu"
    result, state = EditResult(), None
    tokenizer = copy.deepcopy(host.tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    for step, requests in enumerate(STEPS[1:] * 2, start=1):
        if init:
            theirs.reset_parameter(model)
        asked = [{"prompt": r.question, "target_new": r.target_new} for r in requests]
        keys = theirs.cache(model, asked, tokenizer)
        start = () if init else result.model
        (found,) = editor._inner.edit([EditJob("a", step, tuple(requests), start, state)])
        state = found.state
        with torch.no_grad():
            for module, update in total(EditResult(found.model[len(start) :])).items():
                weight = model.get_submodule(module).weight
                weight += update.T if called == "gpt2-xl" else update
        theirs.update(model, keys)
        (result,) = editor.edit([EditJob("a", step, tuple(requests), result.model, result.state)])
        apart = []
        for request in REQUESTS:
            expected = naive.mean_log_prob(model, host.tokenizer, request.question, request.target_new)
            conv = called == "gpt2-xl"
            with naive.in_place(host.model, list(total(result).items()), conv):
                ours = naive.mean_log_prob(host.model, host.tokenizer, request.question, request.target_new)
            apart.append(abs(ours - expected))
        print(f"{name}, init_model {init}, step {step}: |d log p| at most {max(apart):.2g}")
        assert max(apart) <= 1e-3
