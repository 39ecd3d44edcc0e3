"""Part ``generation``: answers of edited models, one model at a time in place against all of them in one batch."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.engine.generation import Generator, Prompt
from pytest_editpitfalls.engine.matrices import is_transposed
from pytest_editpitfalls.engine.overlay import EditedModel, LowRankDelta
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings

from .machine import timed
from .part import Asked, Measured
from .tables import number, table

MODELS = 32
"""Edited models of a batch."""

TOKENS = 24
"""Of an answer: all are generated, so that both ways do the same work."""

ONE_BY_ONE = {False: 8, True: 3}
"""Edited models that are asked one at a time in a round, by whether few are wanted."""

ROUNDS = {False: 5, True: 3}

PROMPTS = ("The capital of {} is", "The official language of {} is", "The head of state of {} is", "{} borders")
PLACES = ("France", "Japan", "Brazil", "Kenya", "Norway", "Mexico", "Egypt", "Thailand")


def measure(asked: Asked) -> Measured:
    """Measure on the model that was asked for."""
    session = EngineSession.open(EngineSettings(asked.model, device=asked.device))
    figures = measure_session(session, quick=asked.quick)
    return Measured(figures, render(figures), {"generation.batched": figures["ratio"]})


def edited_models(session: EngineSession) -> list[EditedModel]:
    """Edited models as ROME leaves them: one rank-one change of a matrix in the lower half, large enough to matter."""
    layer = session.host.n_layers // 4
    d_o, d_k = session.host.matrix_shape(layer)
    draw = torch.Generator().manual_seed(0)
    found: list[EditedModel] = []
    for _ in range(MODELS):
        u, v = (torch.randn(size, 1, generator=draw).to(session.host.device) for size in (d_o, d_k))
        found.append((LowRankDelta(session.host.down_projection_path(layer), u / d_o**0.5, v / d_k**0.5),))
    return found


@contextmanager
def in_place(session: EngineSession, model: EditedModel) -> Iterator[None]:
    """The model with one edit written into its matrix; put back bit for bit."""
    (delta,) = model
    module = session.host.module(delta.module)
    weight: Any = module.weight
    kept: Tensor = weight.detach().clone()
    update = delta.u @ delta.v.T
    with torch.no_grad():
        weight += update.T if is_transposed(module) else update
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def measure_session(session: EngineSession, *, quick: bool) -> dict[str, Any]:
    """Seconds of an answer either way, in turn; their ratio is the median over the rounds."""
    host, models = session.host, edited_models(session)
    texts = [prompt.format(place) for place in PLACES for prompt in PROMPTS]
    tokens = [host.encoder.prompt(text) for text in texts]
    prompts = [Prompt(number, ids, TOKENS) for number, ids in enumerate(tokens)]
    generator = Generator(session.forward, max_tokens=MODELS * 64)
    alone = range(0, MODELS, MODELS // ONE_BY_ONE[quick])

    def batched() -> list[list[int]]:
        return [each.tokens for each in generator.continued(models, prompts)]

    def one_by_one() -> list[list[int]]:
        return [_generated(session, models[place], tokens[place]) for place in alone]

    one_by_one()  # what is made once is made before
    seconds: dict[str, list[float]] = {"batched": [], "one_by_one": []}
    same = True
    for _ in range(ROUNDS[quick]):
        spent, mine = timed(batched, str(host.device))
        seconds["batched"].append(spent / MODELS)
        spent, theirs = timed(one_by_one, str(host.device))
        seconds["one_by_one"].append(spent / len(alone))
        same = same and [mine[place] for place in alone] == theirs
    ratios = [slow / fast for slow, fast in zip(seconds["one_by_one"], seconds["batched"], strict=True)]
    return {
        "model": session.settings.model,
        "device": str(host.device),
        "dtype": str(host.dtype).removeprefix("torch."),
        "models": MODELS,
        "tokens": TOKENS,
        "threads": torch.get_num_threads(),
        "seconds_per_answer": {name: round(statistics.median(own), 4) for name, own in seconds.items()},
        "ratios": [round(each, 2) for each in ratios],
        "ratio": round(statistics.median(ratios), 2),
        "same_tokens": same,
    }


def _generated(session: EngineSession, model: EditedModel, tokens: Sequence[int]) -> list[int]:
    """What the model says that has the edit in its weights."""
    ids = torch.tensor([list(tokens)], device=session.host.device)
    with in_place(session, model), torch.no_grad():
        found = session.host.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=TOKENS,
            pad_token_id=0,
        )
    return [int(token) for token in found[0, ids.shape[1] :]]


NAMES = {"one_by_one": "one model at a time: written in place, `generate()`, put back", "batched": "all in one batch"}


def render(figures: dict[str, Any]) -> str:
    """The section of the document."""
    rows = [[NAMES[name], number(figures["seconds_per_answer"][name], ".3f")] for name in NAMES]
    same = "the same tokens" if figures["same_tokens"] else "not the same tokens"
    return "\n\n".join(
        [
            "## Generation",
            f"{figures['model']} in {figures['dtype']} on {figures['device']}, {figures['threads']} threads: "
            f"{figures['models']} edited models, {figures['tokens']} tokens each, greedy; both ways give {same}. The "
            "ways take turns; the ratio is the median over the rounds.",
            table(["way", "seconds per answer"], rows),
            f"Batched answers come {number(figures['ratio'], '.1f')} times as fast.",
        ]
    )
