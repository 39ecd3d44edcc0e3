"""Editors of the locate-then-edit family on tiny models, and the same edits done the plain way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.editing.interface import EditorResources, EditResult
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.locate_then_edit.layer_by_layer import LayerByLayer
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive

TEMPLATES = ["{}", "The truth is that {}", "The king of Spain. {}"]
REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan"),
    EditRequest("{}", "Rome", "the capital of Spain"),
]
LAYERS = {"r-rome": [1], "emmet": [2], "memit": [0, 2], "alphaedit": [0, 2], "pmet": [0, 2]}
SINCE = ("encore", "nas", "sphere", "lyaplock")
"""MEMIT's and AlphaEdit's descendants, which have a plain way of their own (`plain_chain`)."""
WEIGHT = 5.0
CORPUS = """The author of the book is a writer from England, and the mother of the king is the queen of Spain.
Because of the rain, the game was stopped. He is married to her, and she is married to him.
According to the latest report, the company was founded in London by two brothers.
In the news today, the president of the United States met the chancellor of Germany in Berlin.
The truth is that nobody in the village knew where the river begins. One, two, three, four, five, six, seven.
"""

Keys = dict[int, Tensor]
"""(d_k, n) by layer."""


def make(name: str, forward: Forward, tmp_path: Path, **table: Any) -> Any:
    """The editor with quick hyper-parameters; a ridge, because the corpus has fewer tokens than C has rows."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(CORPUS, encoding="utf-8")
    values: dict[str, Any] = {
        "layers": LAYERS.get(name, [0, 2]),
        "context_templates": TEMPLATES,
        "mom2_corpus": str(corpus),
        "mom2_ridge": 0.1,
        "v_num_grad_steps": 6,
        "v_lr": 0.3,
        "clamp_norm_factor": 2.0,
    }
    if name not in ("rome", "r-rome", "alphaedit", "nas", "sphere"):
        values["mom2_update_weight"] = WEIGHT
    declaration = EDITORS.get(name, where="test")
    hp = resolve_hyperparameters(name, declaration.hyperparameter_class(), "tiny", forward.n_layers, values | table, {})
    moments = SecondMoments(forward, fingerprint="tiny", cache=tmp_path, max_tokens=500)
    return declaration.make(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))


def matrices(result: EditResult, skip: int = 0) -> list[tuple[str, Tensor]]:
    """(module, U V^T) of what an edit wrote, but for the first ``skip`` changes."""
    assert result.error is None, result.error
    return [(delta.module, delta.u @ delta.v.T) for delta in result.model[skip:]]


def close(a: list[tuple[str, Tensor]], b: list[tuple[str, Tensor]], bound: float) -> bool:
    """Whether the same modules were changed and every matrix differs by less than ``bound`` of its norm."""
    assert [name for name, _ in a] == [name for name, _ in b]
    return all(float((x - y).norm() / y.norm()) < bound for (_, x), (_, y) in zip(a, b, strict=True))


def regular(editor: Any, layer: int) -> Tensor:
    """C and its ridge."""
    moment = editor._moments[layer]
    size = len(moment.matrix)
    matrix: Tensor = moment.matrix + moment.ridge * torch.eye(size, dtype=torch.float64)
    return matrix


def is_transposed(host: ModelAdapter) -> bool:
    return type(host.down_projection(0)).__name__ == "Conv1D"


def key_of(editor: Any, layer: int, request: EditRequest) -> Tensor:
    """(d_k,) averaged over the templates, as the editor does."""
    host: ModelAdapter = editor._host
    keys = []
    for template in editor._hp.context_templates:
        text = template.replace("{}", request.question, 1)
        seen = naive.seen_at_subject(host.model, host.tokenizer, host.down_projection(layer), text, request.subject)
        keys.append(seen["key"])
    if isinstance(editor, LayerByLayer) and len(keys) > 1:
        return (keys[0] + torch.stack(keys[1:]).mean(0)) / 2
    return torch.stack(keys).mean(0)


def solve_plainly(editor: Any, layer: int, keys: Tensor, residuals: Tensor, earlier: Keys | None = None) -> Tensor:
    """Delta (d_o, d_k) by d_k x d_k matrices, from keys (d_k, n) and residuals (d_o, n)."""
    hp, n = editor._hp, keys.shape[1]
    if editor.name == "alphaedit":
        values, vectors = torch.linalg.eigh(editor._moments[layer].matrix)
        space = vectors[:, values < hp.nullspace_threshold]
        projector = space @ space.T
        known = keys @ keys.T
        if earlier is not None:
            known = known + earlier[layer] @ earlier[layer].T
        system = projector @ known + hp.L2 * torch.eye(len(keys), dtype=torch.float64)
        return torch.linalg.solve(system, projector @ keys @ residuals.T).T
    weighted = hp.mom2_update_weight * regular(editor, layer)
    if editor.name == "emmet":
        inverse = torch.linalg.inv(weighted)
        gamma = hp.emmet_lambda if n > 1 else 0.0
        small = keys.T @ inverse @ keys + gamma * torch.eye(n, dtype=torch.float64)
        return residuals @ torch.linalg.inv(small) @ keys.T @ inverse
    return residuals @ torch.linalg.solve(weighted + keys @ keys.T, keys).T


def objective(editor: Any) -> dict[str, Any]:
    hp = editor._hp
    return {
        "steps": hp.v_num_grad_steps,
        "lr": hp.v_lr,
        "decay": hp.v_weight_decay,
        "clamp": hp.clamp_norm_factor,
        "kl_factor": hp.kl_factor,
    }


def plain_r_rome(editor: Any, requests: Sequence[EditRequest]) -> list[tuple[str, Tensor]]:
    """One request after another, averaged keys and values everywhere."""
    host, (layer,) = editor._host, editor._hp.layers
    module, path = host.down_projection(layer), host.down_projection_path(layer)
    templates = editor._hp.context_templates
    updates: list[tuple[str, Tensor]] = []
    for request in requests:
        with naive.in_place(host.model, updates, is_transposed(host)):
            (value,), (delta,) = naive.target_vectors(
                host.model, host.tokenizer, [module], request, templates, **objective(editor)
            )
            key = key_of(editor, layer, request)
            mean = torch.stack(
                [
                    naive.seen_at_subject(
                        host.model,
                        host.tokenizer,
                        module,
                        t.replace("{}", request.question, 1),
                        request.subject,
                    )["value"]
                    for t in templates
                ]
            ).mean(0)
        right = torch.linalg.solve(regular(editor, layer), key) if editor._hp.mom2_adjustment else key
        updates.append((path, torch.outer(value + delta - mean, right) / (right @ key)))
    return updates


def plain_layer_by_layer(
    editor: Any, requests: Sequence[EditRequest], earlier: Keys | None = None
) -> list[tuple[str, Tensor]]:
    """MEMIT and its kin: weights changed in place layer by layer, everything read anew each time."""
    host, layers = editor._host, editor._hp.layers
    last = host.blocks[layers[-1]]
    factor = getattr(host.model.config, "residual_multiplier", 1.0)  # what the matrix gives is less in the block
    sites, share, extra = [last], (lambda left: 1 / left), {}
    if editor.name == "pmet":
        attention = last.get_submodule(host.family.attention_output)
        sites, share = [host.down_projection(layers[-1]), attention], (lambda left: left**-0.5)
        factor = 1.0
        extra = {"nll_factor": editor._hp.nll_loss_factor, "relaxed": True}
    targets = []
    for request in requests:
        values, deltas = naive.target_vectors(
            host.model,
            host.tokenizer,
            sites,
            request,
            editor._hp.context_templates,
            **objective(editor),
            **extra,
        )
        targets.append(values[0] + deltas[0])
    updates: list[tuple[str, Tensor]] = []
    for index, layer in enumerate(layers):
        with naive.in_place(host.model, updates, is_transposed(host)):
            keys = torch.stack([key_of(editor, layer, each) for each in requests], dim=1)
            now = [
                naive.seen_at_subject(host.model, host.tokenizer, sites[0], each.question, each.subject)["value"]
                for each in requests
            ]
        residuals = torch.stack([z - h for z, h in zip(targets, now, strict=True)], dim=1)
        residuals = residuals * share(len(layers) - index) / factor
        updates.append((host.down_projection_path(layer), solve_plainly(editor, layer, keys, residuals, earlier)))
    return updates


PLAIN: dict[str, Callable[..., list[tuple[str, Tensor]]]] = {
    "r-rome": plain_r_rome,
    **dict.fromkeys(("memit", "emmet", "pmet", "alphaedit"), plain_layer_by_layer),
}
"""The plain way of each editor: (editor, requests) to updates (module, Delta) in the order of writing."""
