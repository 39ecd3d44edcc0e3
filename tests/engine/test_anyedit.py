"""AnyEdit: against the equations in place, batches, chains, windows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.anyedit.editor import AnyEdit
from pytest_editpitfalls.engine.editors.anyedit.hyperparameters import AnyEditHyperparameters
from pytest_editpitfalls.engine.editors.anyedit.windows import windows_of
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.locate_then_edit import CORPUS, WEIGHT, regular
from tests.engine.token_gradient_editors import assert_close, total

FAMILIES = ["gpt2", "llama", "gpt_neox", "granite"]
LAYERS = (0, 2)
REQUESTS = [
    EditRequest("The story of {} is", "France", "that the mother of the king was married to a writer from Brazil"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The capital of {} is", "Japan", "Rome"),
]


def make(forward: Forward, tmp_path: Path, **values: Any) -> AnyEdit:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(CORPUS, encoding="utf-8")
    table: dict[str, Any] = {
        "layers": LAYERS,
        "mom2_corpus": corpus,
        "mom2_ridge": 0.1,
        "mom2_update_weight": WEIGHT,
        "v_num_grad_steps": 5,
        "v_lr": 0.3,
        "v_loss_layer": forward.n_layers - 1,
        "v_weight_decay": 0.1,
        "clamp_norm_factor": 0.75,
        "window_size": 5,
    }
    moments = SecondMoments(forward, fingerprint="tiny", cache=tmp_path, max_tokens=500)
    hp = AnyEditHyperparameters(**(table | values))
    return AnyEdit(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))


class Plain:
    """One text after another on a copy of the model, with whole matrices that are written in place."""

    def __init__(self, editor: AnyEdit) -> None:
        self.editor, self.host, self.hp = editor, editor._host, editor._hp
        self.model: Any = copy.deepcopy(self.host.model)
        self.updates: dict[str, Tensor] = {}

    def run(self, ids: Sequence[int], added: Sequence[tuple[int, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits, the last edited block's output before anything is added, and inputs of the down-projections."""
        seen: dict[str, Tensor] = {}
        block = self.model.get_submodule(self.editor._block)

        def add(_m: Any, _args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            seen["block"] = hidden[0].detach().clone()
            hidden = hidden.clone()
            for column, vector in added:
                hidden[0, column] = hidden[0, column] + vector
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        handles = [block.register_forward_hook(add)]
        handles += [
            self.model.get_submodule(name).register_forward_pre_hook(
                lambda _m, args, name=name: seen.__setitem__(name, args[0].detach().flatten(0, -2))
            )
            for name in self.editor.weights()
        ]
        logits = self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
        for handle in handles:
            handle.remove()
        return logits, seen

    def learnt(self, prompt: list[int], target: list[int]) -> list[tuple[int, Tensor]]:
        """Column and target vector of each window."""
        hp, earlier, found = self.hp, [], []
        start = 0
        while start < len(target):
            end = min(start + hp.window_size, len(target))
            ids, column = prompt + target[: end - 1], len(prompt) + start - 1
            v_0 = self.run(ids, ())[1]["block"][column]
            delta = torch.zeros_like(v_0, requires_grad=True)
            adam = torch.optim.Adam([delta], lr=hp.v_lr)
            for step in range(hp.v_num_grad_steps):
                adam.zero_grad()
                log_p = self.run(ids, [*earlier, (column, delta)])[0].log_softmax(-1)
                loss = -sum(log_p[column + i, token] for i, token in enumerate(target[start:end])) / (end - start)
                loss = loss + hp.v_weight_decay * delta.norm() / v_0.norm() ** 2
                if loss < 1e-2 or step == hp.v_num_grad_steps - 1:
                    break
                loss.backward()
                adam.step()
                limit = hp.clamp_norm_factor * v_0.norm()
                if delta.norm() > limit:
                    with torch.no_grad():
                        delta *= limit / delta.norm()
            earlier.append((column, delta.detach()))
            found.append((column, v_0 + delta.detach()))
            start += hp.window_size - hp.overlap
        return found

    def edit(self, requests: Sequence[EditRequest]) -> None:
        texts = []
        for request in requests:
            prompt = naive.prompt_ids(self.host.tokenizer, request.question)
            target = naive.target_ids(self.host.tokenizer, request.question, request.target_new)
            texts.append((prompt + target, self.learnt(prompt, target)))
        for index, layer in enumerate(LAYERS):
            name = self.host.down_projection_path(layer)
            keys, others, residuals = [], [], []
            for ids, vectors in texts:
                with torch.no_grad():
                    seen = self.run(ids, ())[1]
                at = [column for column, _ in vectors]
                keys += [seen[name][column] for column in at]
                others += [seen[name][column] for column in range(len(ids)) if column not in at]
                residuals += [wanted - seen["block"][column] for column, wanted in vectors]
            k, k_p, r = (torch.stack(each).T for each in (keys, others, residuals))
            r = r / (len(LAYERS) - index) / self.host.family.mlp_factor
            system = WEIGHT * regular(self.editor, layer) + k_p @ k_p.T + k @ k.T
            update = r @ torch.linalg.solve(system, k).T
            self.updates[name] = self.updates.get(name, 0) + update
            module = self.model.get_submodule(name)
            with torch.no_grad():
                module.weight += update.T if type(module).__name__ == "Conv1D" else update


@pytest.mark.parametrize("overlap", [0, 2])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_chain_is_the_plain_way_s(name: str, overlap: int, tmp_path: Path) -> None:
    """Two texts together, one of three windows, then one more on the edited model."""
    editor = make(make_forward(name, torch.float64), tmp_path, overlap=overlap)
    editor.prepare()
    plain, result = Plain(editor), EditResult()
    for step, requests in enumerate((REQUESTS[:2], REQUESTS[2:]), start=1):
        (result,) = editor.edit([EditJob("a", step, tuple(requests), result.model, result.state)])
        assert result.error is None
        plain.edit(requests)
        assert_close(total(result), plain.updates, 1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_batched_equals_one_by_one(name: str, tmp_path: Path) -> None:
    editor = make(make_forward(name, torch.float64), tmp_path)
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    jobs.append(EditJob("both", 1, tuple(REQUESTS[1:])))
    for job, result in zip(jobs, editor.edit(jobs), strict=True):
        assert_close(total(result), total(editor.edit([job])[0]), 1e-6)


def test_a_long_target_becomes_likelier_with_windows(tmp_path: Path) -> None:
    """Every window's vector is needed: with one window for all tokens the target stays less likely."""
    forward = make_forward("llama", torch.float64)
    found = {}
    for size in (5, 40):
        plain = Plain(make(forward, tmp_path, window_size=size, clamp_norm_factor=4.0, v_num_grad_steps=15))
        plain.editor.prepare()
        asked = (plain.model, plain.host.tokenizer, REQUESTS[0].question, REQUESTS[0].target_new)
        before = naive.mean_log_prob(*asked)
        plain.edit(REQUESTS[:1])
        found[size] = naive.mean_log_prob(*asked)
        assert found[size] > before
    assert found[5] > found[40]


def test_windows() -> None:
    assert windows_of(12, 5, 0) == [(0, 5), (5, 10), (10, 12)]
    assert windows_of(12, 5, 2) == [(0, 5), (3, 8), (6, 11), (9, 12)]
    assert windows_of(3, 40, 0) == [(0, 3)]


def test_mistakes_are_told(tmp_path: Path) -> None:
    editor = make(make_forward("gpt2"), tmp_path)
    bad = EditRequest("The capital is", "France", "Rome")
    good, broken = editor.edit([EditJob("a", 1, (REQUESTS[2],)), EditJob("b", 2, (REQUESTS[1], bad))])
    assert good.error is None
    assert "edit 2: the rewrite prompt 'The capital is' has no {}" in str(broken.error)
    with pytest.raises(UsageError, match="norm after the MLP"):
        make(make_forward("gemma3"), tmp_path)
    with pytest.raises(ValueError, match="smaller than window_size, which is 5"):
        make(make_forward("gpt2"), tmp_path, overlap=5)
