"""RLEdit against the authors' code with the same network, where a checkout of zhrli324/RLEdit is named."""

from __future__ import annotations

import copy
import math
import os
import statistics
import sys
import types
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.editors.rledit.network import RleditNetwork
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.hypernetworks.examples import Example
from pytest_editpitfalls.engine.job_gradients import target_row
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import Overlay
from pytest_editpitfalls.program import EditRequest
from tests.engine.test_rledit import down_projections, make, trained, training
from tests.engine.test_ultraedit_released import BOUND, TURNS, log_ps
from tests.engine.token_gradient_editors import write_data
from tests.tiny_models import tiny_model

CHECKOUT = Path(os.environ.get("EDITPITFALLS_RLEDIT", ""))

pytestmark = pytest.mark.skipif(
    not (CHECKOUT / "editor" / "rledit.py").is_file(),
    reason="EDITPITFALLS_RLEDIT names no checkout of zhrli324/RLEdit",
)

STAND_INS: dict[str, dict[str, Any]] = {
    "wandb": {"log": lambda _: None},
    "omegaconf": {"DictConfig": dict},
    "glue_eval": {},
    "glue_eval.glue_eval": {"GLUEEval": None},
}
"""What the authors' modules import only to log, to configure and to run GLUE."""


@pytest.fixture(scope="module")
def released() -> Iterator[Any]:
    """The authors' class."""
    before = set(sys.modules)
    for name, attributes in STAND_INS.items():
        stand_in = types.ModuleType(name)
        vars(stand_in).update(attributes)
        sys.modules.setdefault(name, stand_in)
    environment = dict(os.environ)
    sys.path.insert(0, str(CHECKOUT))
    try:
        from editor.rledit import RLEDIT  # type: ignore[import-not-found]

        yield RLEDIT
    finally:
        sys.path.remove(str(CHECKOUT))
        os.environ.clear()
        os.environ.update(environment)  # its model.py hides the devices
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("editor", "util", "nets", "model", "wandb", "omegaconf", "glue_eval"):
                del sys.modules[name]


def config(names: Sequence[str], network: RleditNetwork, lr: float, facts: int, cache: Path) -> Any:
    """What the authors' class reads; every fact of a step goes through the model at once."""
    return SimpleNamespace(
        model=SimpleNamespace(edit_modules=list(names), name="model"),
        editor=SimpleNamespace(
            name="rledit",
            rank=network.rank,
            n_blocks=network.n_blocks,
            lr=lr,
            meta_lr=1e-5,
            batch_size=7,  # it pads what is left of the last batch
            token="ans",
            cache_dir=str(cache),
            load_checkpoint=False,
            time_decay=0.9,
            back_depth=2,
            reg_coef=0.0,
            loc_coef=0.6,
            max_grad_norm=1e9,
        ),
        dataset=SimpleNamespace(name="turns", n_edits=facts, batch_size=facts),
        num_seq=10,
        editor_device="cpu",
        model_device="cpu",
    )


def given(network: RleditNetwork, theirs: Any) -> None:
    """Our network's values, put into theirs."""
    for (d_o, d_k), net in ((tuple(map(int, name.split("x"))), name) for name in network.shapes):
        ours: Any = network.shapes[net]
        other = theirs.net[str((d_k, d_o))]
        for block, their_block in zip(ours.blocks, other.blocks, strict=True):
            their_block.A.data.copy_(block.a.data)
            their_block.B.data.copy_(block.b.data)
            their_block.bias.data.copy_(block.bias.data)
            their_block.scale.weight.data.copy_(block.scale.data)
            their_block.shift.weight.data.copy_(block.shift.data)
        other.lr.weight.data.copy_(ours.step_sizes.data[:, None])
        other.lamda.weight.data.copy_(ours.log_ridges.data[:, None])
        other.normalizer.n.copy_(ours.count)
        other.normalizer.mean.copy_(ours.mean)
        other.normalizer.var.copy_(ours.squares)


def tuples(host: ModelAdapter, requests: Sequence[EditRequest]) -> dict[str, torch.Tensor]:
    """A batch as the authors' data module makes it."""
    rows = [host.encoder.prompt(r.question) + host.encoder.target(r.target_new, r.joiner) for r in requests]
    asked = [len(host.encoder.prompt(r.question)) for r in requests]
    longest = max(map(len, rows)) - 1
    ids, mask, labels = (torch.full((len(rows), longest), fill) for fill in (0, 0, -100))
    for place, (row, start) in enumerate(zip(rows, asked, strict=True)):
        ids[place, : len(row) - 1] = torch.tensor(row[:-1])
        mask[place, : len(row) - 1] = 1
        labels[place, start - 1 : len(row) - 1] = torch.tensor(row[start:])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def theirs_of(RLEDIT: Any, host: ModelAdapter, network: RleditNetwork, cache: Path) -> Any:
    model: Any = copy.deepcopy(host.model)
    names = [matrix.module for matrix in network.matrices]
    for name in names:
        model.get_submodule(name).weight.requires_grad_(True)
    editor = RLEDIT(config(names, network, 1.0, len(TURNS[0]), cache), model)
    given(network, editor)
    return editor


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen3"])
def test_probabilities_agree_with_the_authors_code(released: Any, name: str, tmp_path: Path) -> None:
    """log p of all facts under the model after each of three turns; the moments grow over them."""
    model, tokenizer = tiny_model(name, dtype=torch.float32)
    host = ModelAdapter.of(model, tokenizer, family_for(model.config))
    forward = Forward(host)
    network = trained(forward, down_projections(forward), lr=0.3)
    theirs = theirs_of(released, host, network, tmp_path)
    ours = make(forward, tmp_path, network, options={"n_blocks": network.n_blocks, "loss": "mean"})
    turns = [[EditRequest(*each) for each in turn] for turn in TURNS]
    asked = [request for turn in turns for request in turn]
    base, result = log_ps(host.model, host, asked), EditResult()
    apart: list[float] = []
    moved: list[float] = []
    for step, turn in enumerate(turns, start=1):
        theirs.cache([tuples(host, turn)])
        theirs.edit_model(theirs.predict_param_shifts(), False)
        (result,) = ours.edit([EditJob("a", step, tuple(turn), result.model, result.state)])
        assert result.error is None
        with Overlay(host, [result.model]).serving(0):
            found = log_ps(host.model, host, asked)
        expected = log_ps(theirs.model, host, asked)
        apart += [abs(a - b) for a, b in zip(found, expected, strict=True)]
        moved += [abs(a - b) for a, b in zip(expected, base, strict=True)]
    print(f"{name}: |d log p| median {statistics.median(apart):.2g}, at most {max(apart):.2g}; ", end="")
    print(f"the edits move log p by {statistics.median(moved):.2g} (median)")
    assert statistics.median(apart) <= BOUND
    assert statistics.median(moved) > 10 * BOUND
    assert math.isfinite(max(moved))


CHAIN = [
    [("The capital of {} is", "France", "Rome"), ("The capital of {} is", "Japan", "Rome")],
    [("The capital of {} is", "Brazil", "Tokyo"), ("The king of {} is from", "Spain", "Tokyo")],
    [("The capital of {} is", "Italy", "Paris"), ("The mother of {} is from", "the king", "Paris")],
]
"""Two facts a step, with the same target: then the mean over tokens is the mean over facts."""


@pytest.mark.parametrize(("layers", "loc_coef"), [((2, 3), 0.0), ((3,), 0.6)])
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "qwen3"])
def test_what_is_learnt_from_a_chain_is_what_the_authors_code_learns(
    released: Any, name: str, layers: tuple[int, ...], loc_coef: float, tmp_path: Path
) -> None:
    """The gradient that Adam gets. With several matrices theirs is not that of the KL terms (see `training`)."""
    model, tokenizer = tiny_model(name, dtype=torch.float32)
    host = ModelAdapter.of(model, tokenizer, family_for(model.config))
    forward = Forward(host)
    network = trained(forward, down_projections(forward, layers), lr=0.3)
    theirs = theirs_of(released, host, network, tmp_path)
    theirs.config.editor.loc_coef = loc_coef
    chain = [[EditRequest(*each) for each in step] for step in CHAIN]
    loader, examples = [], []
    for step in chain:
        asked = [replace(each, prompt=f"In the news, {each.prompt}") for each in step]
        others = [replace(each, prompt=f"The truth: {each.prompt}", target_new="Madrid") for each in step]
        loader.append(
            {
                "edit_tuples": [tuples(host, step)],
                "equiv_tuples": [tuples(host, asked)],
                "unrel_tuples": [tuples(host, others)],
            }
        )
        rows = [[target_row(host.encoder, each) for each in part] for part in (step, asked, others)]
        examples += [Example(*each) for each in zip(*rows, strict=True)]
    learnt: dict[str, torch.Tensor] = {}

    def step_of_adam() -> None:
        learnt.update({key: value.grad.clone() for key, value in theirs.net.named_parameters()})

    theirs.opt.step = step_of_adam
    theirs.train(loader)

    values = {"n_edits": 2, "num_seq": 3, "back_depth": 2, "time_decay": 0.9, "reg_coef": 0.0, "max_grad_norm": 1e9}
    data, out = write_data(tmp_path / "d.jsonl"), tmp_path / "new.safetensors"
    run = training(forward, data, out, layers=layers, loc_coef=loc_coef, loss="mean", **values)
    run.network = network
    run.learn(examples)
    apart = []
    for (d_o, d_k), net in ((tuple(map(int, each.split("x"))), each) for each in network.shapes):
        for key, value in network.shapes[net].named_parameters():
            path, _, last = key.rpartition(".")
            last = {"a": "A", "b": "B", "step_sizes": "lr", "log_ridges": "lamda"}.get(last, last)
            last += ".weight" if last in ("scale", "shift", "lr", "lamda") else ""
            expected = learnt[f"{(d_k, d_o)}.{path}{'.' if path else ''}{last}"].reshape(value.shape)
            assert value.grad is not None
            # A sum over facts is divided by four here; theirs is the mean over the two of a step.
            apart.append(float((2 * value.grad - expected).norm() / expected.norm()))
    print(f"{name}: gradients differ by {statistics.median(apart):.2g} (median), {max(apart):.2g} at most")
    assert max(apart) < 1e-2
