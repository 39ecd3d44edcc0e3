"""Editors with one mistake each, and what a good one does: they write rank-one updates of one matrix of GPT-2."""

from __future__ import annotations

from typing import Any

import torch

from pytest_editpitfalls.editors import EditResult, LowRankDelta, in_place_editor

MODULE = "transformer.h.1.attn.c_proj"
KEYS: dict[str, Any] = {}
NOISE = torch.Generator().manual_seed(0)


def _mean(model: Any, tokenizer: Any, text: str) -> Any:
    """Mean embedding of a text's tokens."""
    return model.get_input_embeddings().weight[tokenizer(text)["input_ids"]].mean(dim=0).detach()


def _update(model: Any, key: Any, value: Any) -> None:
    with torch.no_grad():
        model.get_submodule(MODULE).weight.add_(torch.outer(key, value))


@in_place_editor(weights=[MODULE], draws="nothing")
def good(model: Any, tokenizer: Any, requests: Any) -> Any:
    for request in requests:
        _update(model, _mean(model, tokenizer, request["subject"]), _mean(model, tokenizer, request["target_new"]))
    return model


@in_place_editor(weights=[MODULE], draws="nothing")
def global_cache(model: Any, tokenizer: Any, requests: Any) -> Any:
    """Keeps keys by the prompt's template, and so takes one subject's for another's."""
    for request in requests:
        if request["prompt"] not in KEYS:
            KEYS[request["prompt"]] = _mean(model, tokenizer, request["subject"])
        _update(model, KEYS[request["prompt"]], _mean(model, tokenizer, request["target_new"]))
    return model


@in_place_editor(weights=[MODULE], draws="nothing")
def order_dependent(model: Any, tokenizer: Any, requests: Any) -> Any:
    """Writes each further edit of a case with half the strength."""
    for request in requests:
        value = _mean(model, tokenizer, request["target_new"]) / 2 ** request["step"]
        _update(model, _mean(model, tokenizer, request["subject"]), 4 * value)
    return model


@in_place_editor(weights=[MODULE], draws="nothing")
def writes_elsewhere(model: Any, tokenizer: Any, requests: Any) -> Any:
    """Changes a norm besides what it declares."""
    with torch.no_grad():
        model.transformer.ln_f.bias[0] += 0.1
    return good(model, tokenizer, requests)


@in_place_editor(weights=[MODULE], draws="nothing")
def not_deterministic(model: Any, tokenizer: Any, requests: Any) -> Any:
    """Draws from a generator of its own that nobody seeds."""
    for request in requests:
        value = _mean(model, tokenizer, request["target_new"])
        noise = 0.1 * torch.randn(value.shape, generator=NOISE)
        _update(model, _mean(model, tokenizer, request["subject"]), value + noise)
    return model


class Batched:
    """What `good` does, for a whole batch."""

    weights = (MODULE,)
    draws = "nothing"

    def __init__(self, _hyperparameters: Any, resources: Any) -> None:
        self.host = resources.host

    def prepare(self, progress: Any = None) -> None:
        pass

    def edit(self, jobs: Any, progress: Any = None) -> Any:
        return [
            EditResult((*job.model, LowRankDelta(MODULE, value[:, None], key[:, None])))
            for job, key, value in zip(jobs, self.keys(jobs), self.means(jobs, "target_new"), strict=True)
        ]

    def means(self, jobs: Any, label: str) -> list[Any]:
        return [_mean(self.host.model, self.host.tokenizer, getattr(job.requests[0], label)) for job in jobs]

    def keys(self, jobs: Any) -> list[Any]:
        return self.means(jobs, "subject")


class ByBatch(Batched):
    """Centres the keys of whatever is in the batch."""

    def keys(self, jobs: Any) -> list[Any]:
        keys = torch.stack(self.means(jobs, "subject"))
        return list(keys - keys.mean(dim=0) / len(keys) * (len(keys) - 1))


class WritesBase(Batched):
    """Leaves a trace in the base model itself."""

    def edit(self, jobs: Any, progress: Any = None) -> Any:
        with torch.no_grad():
            self.host.model.transformer.ln_f.bias[0] += 0.01
        return super().edit(jobs)


class Undoes(Batched):
    """Takes an update out again where the old object is written back, and says that this is exact."""

    restores = True

    def edit(self, jobs: Any, progress: Any = None) -> Any:
        results = []
        for job, result in zip(jobs, super().edit(jobs), strict=True):
            request, made = job.requests[0], dict(job.state or {})
            if request.target_new == made.get((request.subject, request.prompt), ("", ()))[0]:
                _, delta = made.pop((request.subject, request.prompt))
                results.append(EditResult(tuple(each for each in job.model if each is not delta), made))
                continue
            old = made.get((request.subject, request.prompt), (request.target_true, None))
            kept = tuple(each for each in job.model if each is not old[1])
            made[request.subject, request.prompt] = (old[0], result.model[-1])
            results.append(EditResult((*kept, result.model[-1]), made))
        return results


class SaysItUndoes(Batched):
    """Says so, and writes the old object on top."""

    restores = True
