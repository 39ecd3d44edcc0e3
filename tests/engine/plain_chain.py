"""ENCORE, NAS, SPHERE and LyapLock the plain way: whole matrices, weights changed in place, one edit after another.

Written from the papers' formulas, as `naive`: no low rank, no identities, nothing shared by cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.locate_then_edit import Keys, is_transposed, key_of, objective, regular

Updates = list[tuple[str, Tensor]]


class PlainChain:
    """One case of an editor, edit by edit."""

    def __init__(self, editor: Any) -> None:
        self.editor, self.hp, self.host = editor, editor._hp, editor._host
        self.written: Updates = []
        self.known: Keys = {}
        self.queues: dict[int, dict[str, Any]] = {}

    def edit(self, requests: Sequence[EditRequest]) -> Updates:
        host, layers = self.host, self.hp.layers
        with self._model(self.written):
            targets = [self._target(request) for request in requests]
        new: Updates = []
        keys_of: Keys = {}
        factor = getattr(host.model.config, "residual_multiplier", 1.0)
        for index, layer in enumerate(layers):
            with self._model([*self.written, *new]):
                keys = torch.stack([key_of(self.editor, layer, each) for each in requests], dim=1)
                now = [self._seen(host.blocks[layers[-1]], each)["value"] for each in requests]
            residuals = torch.stack([z - h for z, h in zip(targets, now, strict=True)], dim=1)
            residuals = residuals / (len(layers) - index) / factor
            new.append((host.down_projection_path(layer), self._solve(layer, keys, residuals)))
            keys_of[layer] = keys
        if self.editor.name == "sphere":
            new = [(path, self._spared(layer, update)) for layer, (path, update) in zip(layers, new, strict=True)]
        self.written += new
        for layer, keys in keys_of.items():
            self.known[layer] = torch.cat([self.known.get(layer, keys[:, :0]), keys], dim=1)
        return new

    def _model(self, updates: Updates) -> Any:
        return naive.in_place(self.host.model, updates, is_transposed(self.host))

    def _seen(self, module: Any, request: EditRequest) -> dict[str, Tensor]:
        return naive.seen_at_subject(self.host.model, self.host.tokenizer, module, request.question, request.subject)

    def _target(self, request: EditRequest) -> Tensor:
        host, hp, last = self.host, self.hp, self.hp.layers[-1]
        (value,), (delta,) = naive.target_vectors(
            host.model,
            host.tokenizer,
            [host.blocks[last]],
            request,
            hp.context_templates,
            **objective(self.editor),
            likeliest_steps=-hp.prob_cutoff,
        )
        if not hp.nas:
            return value + delta
        factor = getattr(host.model.config, "residual_multiplier", 1.0)
        own = self._seen(host.down_projection(last), request)["value"]
        star = own + delta / factor
        star = own if star.norm() > hp.nas_limit * hp.nas_norm else hp.nas_norm * star / star.norm()
        return value - factor * own + factor * star

    def _matrix(self, layer: int, updates: Updates) -> Tensor:
        weight = self.host.down_projection(layer).weight.detach()
        matrix = weight.T if is_transposed(self.host) else weight
        path = self.host.down_projection_path(layer)
        return matrix + sum((update for name, update in updates if name == path), torch.zeros_like(matrix))

    def _solve(self, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        name, hp = self.editor.name, self.hp
        one = torch.eye(len(keys), dtype=torch.float64)
        known = self.known.get(layer, keys[:, :0])
        known = known @ known.T
        if name == "lyaplock":
            return self._locked(layer, keys, residuals)
        if name in ("alphaedit", "nas", "sphere"):
            values, vectors = torch.linalg.eigh(self.editor._moments[layer].matrix)
            space = vectors[:, values < hp.nullspace_threshold]
            projector = space @ space.T
            system = projector @ (keys @ keys.T + known) + hp.L2 * one
            return torch.linalg.solve(system, projector @ keys @ residuals.T).T
        preserved = hp.mom2_update_weight * regular(self.editor, layer) + hp.update_norm_lambda * one
        if hp.add_prev_edits:
            preserved = preserved + known
        if name == "emmet":
            small = keys.T @ torch.linalg.inv(preserved) @ keys
            gamma = hp.emmet_lambda if keys.shape[1] > 1 else 0.0
            small = small + gamma * torch.eye(keys.shape[1], dtype=torch.float64)
            return residuals @ torch.linalg.inv(small) @ keys.T @ torch.linalg.inv(preserved)
        return residuals @ keys.T @ torch.linalg.inv(preserved + keys @ keys.T)

    def _spared(self, layer: int, update: Tensor) -> Tensor:
        """``written`` is still what it was before the edit."""
        matrix = self._matrix(layer, self.written)
        rows = matrix / matrix.norm(dim=1, keepdim=True)
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        total, found, picked = values.sum(), 0.0, []
        for value, vector in zip(values.flip(0), vectors.T.flip(0), strict=True):
            picked.append(vector)
            found += float(value)
            if found / float(total) > self.hp.cumulative_ratio:
                break
        axes = torch.stack(picked, dim=1)
        return update - self.hp.suppression_strength * update @ axes @ axes.T

    def _locked(self, layer: int, keys: Tensor, residuals: Tensor) -> Tensor:
        hp, c = self.hp, regular(self.editor, layer)
        first, before = self._matrix(layer, []), self._matrix(layer, self.written)
        queue = self.queues.setdefault(layer, {"z": None, "vk": 0.0 * first, "kk": 0.0 * c})
        weight = hp.mom2_update_weight
        if queue["z"] is not None:
            weight = weight * queue["a"] * queue["z"]
        left = residuals @ keys.T + weight * (first @ c - before @ c) + (queue["vk"] - before @ queue["kk"])
        update = left @ torch.linalg.inv(keys @ keys.T + weight * c + queue["kk"])
        after = before + update
        damage = float(((after - first) @ c @ (after - first).T).trace())
        if queue["z"] is None:
            queue |= {"d": damage, "a": (hp.alpha * damage) ** -0.5, "z": (hp.alpha * damage) ** 0.5}
        queue["z"] = max(queue["z"] + queue["a"] * (damage - hp.alpha * queue["d"]), (hp.alpha * queue["d"]) ** 0.5)
        queue["vk"] = queue["vk"] + after @ keys @ keys.T
        queue["kk"] = queue["kk"] + keys @ keys.T
        return update
