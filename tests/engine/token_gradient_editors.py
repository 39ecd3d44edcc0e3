"""What the tests of editors with token gradients share: facts, the plain way, and what holds of each of them.

MEND, UltraEdit and RLEdit make an update of the inputs and gradients at the target's tokens; MEND and RLEdit train a
network for it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditJob, Editor, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.ultraedit.editor import warm_up_facts
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.hypernetworks.weights import WeightsHeader, read_header
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import fingerprint
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive

LAYERS = (2, 3)
REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan and Italy"),
]
SUBJECTS = ["village", "river", "company", "king of Spain", "game", "brother", "book", "neighbour"]


def resources(forward: Forward, tmp_path: Path, max_tokens: int = 40) -> EditorResources:
    moments = SecondMoments(forward, fingerprint="tiny", cache=tmp_path, max_tokens=500)
    return EditorResources(forward.host, forward, moments, EngineSettings("tiny"), max_tokens)


def matrices(result: EditResult, since: int = 0) -> dict[str, Tensor]:
    assert result.error is None, result.error
    return {delta.module: delta.u @ delta.v.T for delta in result.model[since:]}


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor], bound: float = 1e-9) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert float((a[name] - b[name]).norm() / b[name].norm()) < bound, name


def total(result: EditResult) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for delta in result.model:
        assert not isinstance(delta, str)
        found[delta.module] = found.get(delta.module, 0) + delta.u @ delta.v.T
    return found


class Plain:
    """The release's way: hooks on a model that is written in place, moments that grow (RunningMeanStd), one solve."""

    def __init__(self, host: ModelAdapter, names: Sequence[str], lr: float, warm_up: int) -> None:
        self.model: Any = copy.deepcopy(host.model)
        self.tokenizer, self.names, self.lr = host.tokenizer, names, lr
        self.moments: dict[tuple[int, int], tuple[int, Tensor, Tensor]] = {}
        self.updates: dict[str, Tensor] = {}
        if warm_up:
            self.observe([self.tokens(request) for request in warm_up_facts()[:warm_up]])

    def tokens(self, request: EditRequest) -> dict[str, tuple[Tensor, Tensor]]:
        """Inputs and gradients where a target token is predicted, by module; the loss is the sum over tokens."""
        inputs: dict[str, Tensor] = {}
        found: dict[str, tuple[Tensor, Tensor]] = {}
        prompt = naive.prompt_ids(self.tokenizer, request.question)
        wanted = naive.target_ids(self.tokenizer, request.question, request.target_new)
        where = slice(len(prompt) - 1, len(prompt) + len(wanted) - 1)
        handles = []
        self.model.requires_grad_(True)
        for name in self.names:
            module = self.model.get_submodule(name)

            def keep(_m: Any, _in: Any, out: Any, name: str = name) -> None:
                found[name] = (inputs[name][where], out[0].reshape(-1, out[0].shape[-1])[where].detach())

            def read(_m: Any, args: Any, name: str = name) -> None:
                inputs[name] = args[0].detach().reshape(-1, args[0].shape[-1])

            handles += [module.register_forward_pre_hook(read), module.register_full_backward_hook(keep)]
        log_p = self.model(input_ids=torch.tensor([prompt + wanted]), use_cache=False).logits[0].log_softmax(-1)
        (-sum(log_p[len(prompt) - 1 + i, token] for i, token in enumerate(wanted))).backward()
        for handle in handles:
            handle.remove()
        return found

    def observe(self, found: list[dict[str, tuple[Tensor, Tensor]]]) -> None:
        for name in self.names:
            both = torch.cat([torch.cat(each[name], dim=1) for each in found])
            shape = (found[0][name][0].shape[1], found[0][name][1].shape[1])
            n, mean, squares = self.moments.get(shape, (0, both[0] * 0, both[0] * 0))
            more = len(both)
            step = both.mean(0) - mean
            spread = both.var(0) if more > 1 else both[0] * 0
            squares = squares + more * spread + n * more * step.pow(2) / (n + more)
            self.moments[shape] = (n + more, mean + more * step / (n + more), squares)

    def edit(self, requests: Sequence[EditRequest]) -> None:
        found = [self.tokens(request) for request in requests]
        self.observe(found)
        eps = torch.finfo(torch.float32).eps
        for name in self.names:
            x, g = (torch.cat([each[name][side] for each in found]) for side in (0, 1))
            n, mean, squares = self.moments[x.shape[1], g.shape[1]]
            std = (squares / (n - 1 + eps)).sqrt()
            both = (torch.cat([x, g], dim=1) - mean) / (std + eps)
            x_hat, g_hat = both[:, : x.shape[1]], both[:, x.shape[1] :]
            wanted = -self.lr * (x_hat * x_hat).sum(-1, keepdim=True) * g_hat
            shift = torch.linalg.solve(x.T @ x + torch.eye(x.shape[1], dtype=x.dtype), x.T @ wanted)
            weight = self.model.get_submodule(name).weight
            conv = type(self.model.get_submodule(name)).__name__ == "Conv1D"
            with torch.no_grad():
                weight += shift if conv else shift.T
            self.updates[name] = self.updates.get(name, 0) + shift.T


def header(forward: Forward, network: Any, **changes: Any) -> WeightsHeader:
    made = WeightsHeader(
        model="tiny",
        fingerprint=fingerprint(forward.host.model, forward.host.tokenizer),
        dtype=str(forward.host.dtype).removeprefix("torch."),
        layers=LAYERS,
        matrices=network.matrices,
        rank=network.rank,
        data={},
        options={},
        versions={},
        progress={},
    )
    return replace(made, **changes)


def write_data(path: Path, count: int = 300) -> Path:
    """Facts of made-up subjects, in words that the tiny tokenizers know."""
    cities = ["Paris", "Rome", "Tokyo", "London", "Berlin"]
    lines = []
    for index in range(count):
        subject = f"{SUBJECTS[index % len(SUBJECTS)]} {index}"
        fact = {
            "prompt": "The capital of {} is",
            "subject": subject,
            "target_new": cities[index % 5],
            "target_true": cities[(index + 2) % 5],
            "rephrase": ["In the news, the capital of {} is", f"The river of {subject} begins in"],
        }
        lines.append(json.dumps(fact))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def check_chain(editor: Editor, plain: Plain) -> None:
    """Two requests together, then one on the edited model, with what the first step left: as the plain way has it."""
    result = EditResult()
    for step, requests in enumerate((REQUESTS[:2], REQUESTS[2:]), start=1):
        (result,) = editor.edit([EditJob("a", step, tuple(requests), result.model, result.state)])
        assert result.error is None, result.error
        plain.edit(requests)
        assert_close(total(result), plain.updates, 1e-7)


def check_batched(forward: Forward, editor: Editor, *more: EditJob) -> None:
    """Jobs together are jobs one by one, and the model is left as it was."""
    before = {key: value.clone() for key, value in forward.host.model.state_dict().items()}
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    jobs += [EditJob("both", 1, tuple(REQUESTS[:2])), *more]
    for job, result in zip(jobs, editor.edit(jobs), strict=True):
        assert_close(matrices(result), matrices(editor.edit([job])[0]), 1e-7)
    assert all(torch.equal(value, before[key]) for key, value in forward.host.model.state_dict().items()), "written"


def check_bad_request(editor: Editor) -> None:
    """A job with a prompt that has no place for the subject is an error; the job beside it is edited."""
    bad = replace(REQUESTS[0], prompt="The capital is")
    good, broken = editor.edit([EditJob("a", 1, (REQUESTS[0],)), EditJob("b", 2, (REQUESTS[1], bad))])
    assert good.error is None, good.error
    assert "edit 2: the rewrite prompt 'The capital is' has no {}" in str(broken.error)


def check_not_finite(editor: Any, error: str = "inputs or gradients are not finite (NaN or infinity)") -> None:
    """A job whose model is not finite is an error (``{}``: the first edited module); the job beside it is edited."""
    (first,) = editor.edit([EditJob("a", 1, (REQUESTS[0],))])
    spoilt = tuple(replace(delta, u=delta.u * float("inf")) for delta in first.model)
    good, bad = editor.edit([EditJob("a", 1, (REQUESTS[0],)), EditJob("b", 2, (REQUESTS[0],), spoilt, first.state)])
    assert_close(matrices(good), matrices(first), 1e-4)
    assert bad.error == f"edit 2: {error.replace('{}', first.model[0].module)}"


def check_learnt(run: Any, path: Path, kind: Any, edits: int) -> WeightsHeader:
    """A training ends after all its edits with a lower loss, which is that of the file; the file's header."""
    assert run.run() == "max_iters"
    assert run.best.total < 0.9 * run.first.total
    assert (run.edits, run.skipped) == (edits, 0)
    written = read_header(path, kind)
    assert written.progress["validation"]["total"] == run.best.total
    assert written.data["training_facts"] == 270
    return written


def check_resumed(training: Callable[..., Any], folder: Path, *, edits: int, steps: int) -> Any:
    """A training that was resumed after its first half ends where one does that was not interrupted; the latter."""
    whole = training(folder / "whole.safetensors", max_iters=edits, val_interval=20)
    whole.run()
    training(folder / "half.safetensors", max_iters=edits // 2, val_interval=20).run()
    rest = training(folder / "half.safetensors", max_iters=edits, val_interval=20)
    rest.resume()
    assert (rest.edits, rest.steps) == (edits // 2, steps // 2)
    rest.run()
    for key, value in whole.network.state_dict().items():
        assert torch.allclose(value, rest.network.state_dict()[key], rtol=1e-7, atol=1e-9), key
    assert rest.steps == whole.steps == steps
    return whole
