"""Published hyper-parameters from a checkpoint's name to probabilities, against ROME the plain way.

The checkpoints are tiny, but as deep and as named as the published models. The values are written out here once more,
from the released files (kmeng01/memit hparams/ROME/gpt2-medium.json, zjunlp/EasyEdit hparams/ROME/llama-7b.yaml),
so that a preset that does not reach the optimisation is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import EditRequest, State
from tests.engine import naive
from tests.tiny_models import save_tiny


@dataclass(frozen=True)
class Published:
    """A model's name and depth, a family to make it of, and ROME's values for it."""

    name: str
    family: str
    n_layers: int
    layer: int
    steps: int
    decay: float
    clamp: float
    second_moment: bool
    source: str


PUBLISHED = [
    Published("gpt2-medium", "gpt2", 24, 8, 20, 0.5, 3.0, True, "kmeng01/memit/hparams/ROME/gpt2-medium.json"),
    Published("llama-2-7b", "llama", 32, 5, 25, 1e-3, 4.0, False, "zjunlp/EasyEdit/hparams/ROME/llama-7b.yaml"),
    Published("smollm2-135m", "llama", 30, 8, 20, 0.5, 4.0, True, "chosen by this project"),
    Published("of-mine", "gpt2", 4, 1, 20, 0.5, 4.0, True, "no preset for this model"),
]
LR, KL_FACTOR = 0.5, 0.0625
"""The same in every published file."""

CORPUS = [f"The king of {n} saw {n * n} queens of Spain, and {7 * n} speak {chr(97 + n % 26)}." for n in range(40)]
FEW, FAST = 3, 8.0
SHORT = {"v_num_grad_steps": str(FEW), "v_lr": str(FAST), "context_template_length_params": "[[5, 2]]"}
"""What is changed to save time (so fast that the clamp is reached); everything else is the preset's."""

STEPS = (
    (EditRequest("The capital of {} is", "France", "Rome"),),
    (EditRequest("{} speaks", "Danielle Darrieux", "Russian and French"),),
)
PROMPTS = ("The capital of France is", "Danielle Darrieux speaks")
PROGRAM = Program(
    "P",
    STEPS,
    (State("0", ()), State("1", (0,)), State("12", (0, 1)), State("2", (1,))),
    tuple(Probe("old", state, PROMPTS, target) for state in ("0", "1", "12", "2") for target in ("Rome", "Russian")),
)


@pytest.fixture(params=PUBLISHED, ids=lambda published: published.name)
def published(request: pytest.FixtureRequest) -> Published:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def checkpoint(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    return save_tiny(tmp_path / published.name, published.family, layers=published.n_layers, hidden=16)


def test_the_preset_reaches_the_record(published: Published, checkpoint: Path) -> None:
    session = EngineSession.open(EngineSettings(str(checkpoint), device="cpu"))
    values = session.describe("rome")["editor"]["hyperparameters"]
    assert values["source"].startswith(published.source)
    assert values["layers"] == [published.layer]
    assert values["v_num_grad_steps"] == published.steps
    assert (values["v_lr"], values["kl_factor"]) == (LR, KL_FACTOR)
    assert (values["v_weight_decay"], values["clamp_norm_factor"]) == (published.decay, published.clamp)
    assert values["mom2_adjustment"] is published.second_moment
    assert values["v_loss_layer"] == published.n_layers - 1


def plain_second_moment(session: EngineSession, module: Any) -> Tensor:
    keys: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _m, args: keys.append(args[0].reshape(-1, args[0].shape[-1])))
    try:
        for line in CORPUS:
            with torch.no_grad():
                session.model(input_ids=torch.tensor([session.tokenizer(line)["input_ids"]]), use_cache=False)
    finally:
        hook.remove()
    every = torch.cat(keys)
    return every.T @ every / len(every)


def test_scores_are_those_of_the_published_editor_done_the_plain_way(
    published: Published, checkpoint: Path, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(CORPUS), encoding="utf-8")
    settings = EngineSettings(
        str(checkpoint),
        device="cpu",
        dtype="float64",
        config_tables={"rome": {"mom2_corpus": str(corpus)}},
        overrides={"rome": SHORT},
    )
    session = EngineSession.open(settings)
    (answer,) = session.run("rome", [PROGRAM])
    assert (answer.error, answer.skipped) == (None, None)

    model, tokenizer = session.model, session.tokenizer
    block = "transformer.h" if published.family == "gpt2" else "model.layers"
    down = "mlp.c_proj" if published.family == "gpt2" else "mlp.down_proj"
    path = f"{block}.{published.layer}.{down}"
    module = model.get_submodule(path)
    transposed = published.family == "gpt2"
    described = session.describe("rome")["editor"]
    templates = described["context_templates"]
    assert len(templates) == 3
    assert (described["second_moment"] is not None) == published.second_moment
    d_k = module.weight.shape[0 if transposed else 1]
    moment = plain_second_moment(session, module) if published.second_moment else torch.eye(d_k).double()

    def edit(request: EditRequest) -> tuple[str, Tensor]:
        update, _ = naive.rome(
            model,
            tokenizer,
            module,
            request,
            templates,
            moment,
            steps=FEW,
            lr=FAST,
            decay=published.decay,
            clamp=published.clamp,
            kl_factor=KL_FACTOR,
        )
        return path, update

    one, two = edit(STEPS[0][0]), edit(STEPS[1][0])
    with naive.in_place(model, [one], transposed):
        then = edit(STEPS[1][0])
    models = {"0": [], "1": [one], "12": [one, then], "2": [two]}
    seen = set()
    for probe, score in zip(PROGRAM.probes, answer.probes, strict=True):
        with naive.in_place(model, models[probe.state], transposed):
            wanted = [naive.mean_log_prob(model, tokenizer, prompt, probe.target) for prompt in probe.prompts]
        assert [math.log(p) for p in score.probabilities] == pytest.approx(wanted, abs=1e-5)
        seen.add(round(wanted[0], 3))
    assert len(seen) == len(PROGRAM.probes), "some edit did nothing"
