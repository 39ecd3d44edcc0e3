"""MEND: gradients against autograd in place, the untrained network against the plain step, batches, training, files."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from tiny_models import save_tiny
from torch import Tensor

from pytest_editpitfalls.cli.network_training import load_training_data, train, training_options
from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.editors.mend.editor import Mend
from pytest_editpitfalls.engine.editors.mend.hyperparameters import MendHyperparameters, MendTraining
from pytest_editpitfalls.engine.editors.mend.network import STD_FLOOR, MendNetwork, RunningMoments
from pytest_editpitfalls.engine.editors.mend.training import MEND, MendTrainingRun
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.hypernetworks.checkpoint import Checkpoint, checkpoint_path
from pytest_editpitfalls.engine.hypernetworks.weights import (
    WeightsHeader,
    load_weights,
    read_header,
    replacing,
    save_weights,
)
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import fingerprint
from pytest_editpitfalls.engine.token_gradients import (
    TargetBatch,
    TargetRow,
    edited_matrices,
    token_gradients,
)
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.token_gradient_editors import (
    LAYERS,
    assert_close,
    check_bad_request,
    check_learnt,
    check_not_finite,
    check_resumed,
    header,
    matrices,
    resources,
    write_data,
)

FAMILIES = [
    "gpt2",
    "llama",
    "gpt_neox",
    "gemma3",
    "phi3",
    "opt_post_norm",
    "falcon",
    "granite",
    "bloom",
    "starcoder2",
    "glm4",
]
REQUESTS = [
    EditRequest("The capital of {} is", "France", "Rome"),
    EditRequest("{} speaks", "Danielle Darrieux", "Russian and the French of a king"),
    EditRequest("The mother of {} is", "the king", "Japan"),
]


def naive_gradients(host: ModelAdapter, request: EditRequest, names: Sequence[str]) -> dict[str, Tensor]:
    """dL/dW (d_o, d_k) of a deep copy with ordinary parameters, L = -mean log p(target)."""
    model = copy.deepcopy(host.model)
    parameters = [model.get_submodule(name).weight.requires_grad_() for name in names]
    wanted = naive.target_ids(host.tokenizer, request.question, request.target_new)
    ids = torch.tensor([naive.prompt_ids(host.tokenizer, request.question) + wanted])
    log_p = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    start = ids.shape[1] - len(wanted) - 1
    loss = -sum(log_p[start + i, token] for i, token in enumerate(wanted)) / len(wanted)
    grads = torch.autograd.grad(loss, parameters)
    return {name: turned(host, name, grad) for name, grad in zip(names, grads, strict=True)}


def turned(host: ModelAdapter, name: str, weight: Tensor) -> Tensor:
    return weight.T if type(host.module(name)).__name__ == "Conv1D" else weight


def target_rows(host: ModelAdapter, requests: Sequence[EditRequest]) -> list[TargetRow]:
    encoder = host.encoder
    return [TargetRow(encoder.prompt(r.question), encoder.target(r.target_new)) for r in requests]


def full(name: str) -> Forward:
    return make_forward(name, torch.float64)


def trained(forward: Forward, *, edit_lr: float = -0.02, seed: int = 3) -> MendNetwork:
    """A network with moments and with parameters away from the identity."""
    host = forward.host
    network = MendNetwork(edited_matrices(host, LAYERS), 5, edit_lr=edit_lr, seed=seed, dtype=host.edit_dtype)
    batch = TargetBatch.of(target_rows(host, REQUESTS), host.device)
    network.observe(token_gradients(forward, batch, network.matrices, torch.ones(len(REQUESTS))))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.network_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += (0.1 * noise).to(parameter.dtype)
    return network


def make_mend(forward: Forward, tmp_path: Path, network: MendNetwork | None = None, **values: Any) -> Mend:
    path = tmp_path / "mend.safetensors"
    network = network or trained(forward)
    save_weights(path, MEND, network, header(forward, network))
    hp = MendHyperparameters(layers=LAYERS, weights=path, **values)
    return Mend(hp, resources(forward, tmp_path))


@pytest.mark.parametrize("name", FAMILIES)
def test_token_gradients_sum_to_autograds(name: str) -> None:
    """In a padded batch, for every edited matrix; tokens that are dropped add nothing."""
    forward = full(name)
    host = forward.host
    edited = edited_matrices(host, LAYERS)
    batch = TargetBatch.of(target_rows(host, REQUESTS), host.device)
    found = token_gradients(forward, batch, edited, torch.ones(len(REQUESTS)))
    for place, request in enumerate(REQUESTS):
        expected = naive_gradients(host, request, [matrix.module for matrix in edited])
        got = {
            matrix.module: (each.d[place] * each.kept[place, :, None]).T @ each.x[place]
            for matrix, each in zip(edited, found, strict=True)
        }
        assert_close(got, expected, 1e-6 if name == "bloom" else 1e-9)  # its attention rounds to float32
    last = found[-1]
    target_tokens = torch.tensor([len(row.target) for row in target_rows(host, REQUESTS)])
    if not host.family.norm_after_mlp or name == "gemma3":
        # In the last block only tokens that predict something have a gradient.
        assert torch.equal(last.kept.sum(dim=1), target_tokens)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_the_untrained_network_takes_the_plain_gradient_step(name: str, tmp_path: Path) -> None:
    """U = 0 is the identity; with moments of mean 0 and deviation 1 - 1e-7 the update is alpha G."""
    forward = full(name)
    host = forward.host
    network = MendNetwork(edited_matrices(host, LAYERS), 4, edit_lr=0.25, dtype=torch.float64)
    for shape in network.shapes.values():
        for moments in (shape.x_moments, shape.d_moments):
            moments.count.fill_(2)
            moments.squares.fill_((1 - STD_FLOOR) ** 2)
    mend = make_mend(forward, tmp_path, network, lr_scale=2.0)
    for request in REQUESTS:
        result = mend.edit([EditJob("a", 1, (request,))])[0]
        plain = naive_gradients(host, request, [matrix.module for matrix in network.matrices])
        assert_close(matrices(result), {key: 0.5 * value for key, value in plain.items()})


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "gemma3"])
def test_batched_equals_one_by_one_equals_the_plain_way(name: str, tmp_path: Path) -> None:
    forward = full(name)
    network = trained(forward)
    mend = make_mend(forward, tmp_path, network)
    before = {key: value.clone() for key, value in forward.host.model.state_dict().items()}
    jobs = [EditJob(str(i), 1, (request,)) for i, request in enumerate(REQUESTS)]
    for job, together in zip(jobs, mend.edit(jobs), strict=True):
        assert_close(matrices(together), matrices(mend.edit([job])[0]))
        assert_close(matrices(together), plain_update(forward, network, job.requests[0]))
    after = forward.host.model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def plain_update(forward: Forward, network: MendNetwork, request: EditRequest) -> dict[str, Tensor]:
    """Token by token, as the equations of `network` read; x and d taken off a deep copy by hooks."""
    host = forward.host
    model = copy.deepcopy(host.model).requires_grad_(True)
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    inputs: dict[str, Tensor] = {}
    for matrix in network.matrices:
        module = model.get_submodule(matrix.module)
        name = matrix.module
        module.register_forward_pre_hook(lambda _m, args, name=name: inputs.__setitem__(name, args[0].detach()))
        module.register_full_backward_hook(
            lambda _m, _in, out, name=name: seen.__setitem__(name, (inputs[name], out[0]))
        )
    wanted = naive.target_ids(host.tokenizer, request.question, request.target_new)
    ids = torch.tensor([naive.prompt_ids(host.tokenizer, request.question) + wanted])
    log_p = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    start = ids.shape[1] - len(wanted) - 1
    (-sum(log_p[start + i, token] for i, token in enumerate(wanted)) / len(wanted)).backward()
    found: dict[str, Tensor] = {}
    members: dict[tuple[int, int], int] = {}
    for index, matrix in enumerate(network.matrices):
        member = members.get(matrix.shape, 0)
        members[matrix.shape] = member + 1
        shape: Any = network.shapes[f"{matrix.d_o}x{matrix.d_k}"]
        x, d = (each.reshape(-1, each.shape[-1]) for each in seen[matrix.module])
        total = torch.zeros(matrix.d_o, matrix.d_k, dtype=x.dtype)
        for one_x, one_d in zip(x, d, strict=True):
            if not one_x.any() or not one_d.any():
                continue
            parts = []
            for value, moments in ((one_x, shape.x_moments), (one_d, shape.d_moments)):
                std = (moments.squares / (moments.count - 1)) ** 0.5
                parts.append((value - moments.mean) / (std + 1e-7))
            h = torch.cat(parts)
            for layer in shape.layers:
                inner = layer.scale[member] * (layer.u @ (layer.v @ h) + layer.bias) + layer.shift[member]
                h = h + inner.relu()
            total += torch.outer(h[matrix.d_k :], h[: matrix.d_k]).detach()
        found[matrix.module] = network.alphas[index].detach() * total
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_edit_two_is_computed_under_edit_one(name: str, tmp_path: Path) -> None:
    forward = full(name)
    network = trained(forward)
    mend = make_mend(forward, tmp_path, network)
    first = mend.edit([EditJob("a", 1, (REQUESTS[0],))])[0]
    second = REQUESTS[1]
    chained, alone = mend.edit([EditJob("a", 2, (second,), first.model), EditJob("b", 1, (second,))])
    assert chained.model[: len(first.model)] == first.model
    host = forward.host
    transposed = type(host.down_projection(2)).__name__ == "Conv1D"
    with naive.in_place(host.model, list(matrices(first).items()), transposed):
        under = plain_update(forward, network, second)
    assert_close(matrices(chained, len(first.model)), under)
    assert_close(matrices(alone), plain_update(forward, network, second))


def test_losses_of_several_requests_are_averaged(tmp_path: Path) -> None:
    """The network is the identity here, so that the update is linear in the gradient."""
    forward = full("llama")
    network = MendNetwork(edited_matrices(forward.host, LAYERS), 4, edit_lr=0.1, dtype=torch.float64)
    for shape in network.shapes.values():
        for moments in (shape.x_moments, shape.d_moments):
            moments.count.fill_(2)
            moments.squares.fill_(1)
    mend = make_mend(forward, tmp_path, network)
    other = replace(REQUESTS[0], target_new="Tokyo")
    both = matrices(mend.edit([EditJob("a", 1, (REQUESTS[0], other))])[0])
    single = [matrices(mend.edit([EditJob("a", 1, (request,))])[0]) for request in (REQUESTS[0], other)]
    assert_close(both, {name: (single[0][name] + single[1][name]) / 2 for name in both})


def test_one_bad_request_is_an_error_of_its_own(tmp_path: Path) -> None:
    mend = make_mend(make_forward("gpt2"), tmp_path)
    check_bad_request(mend)
    good, blank = mend.edit([EditJob("a", 1, (REQUESTS[0],)), EditJob("c", 1, (replace(REQUESTS[0], target_new=" "),))])
    assert good.error is None
    assert "no tokens" in str(blank.error)


def test_an_update_that_is_not_finite_is_an_error_of_its_own(tmp_path: Path) -> None:
    mend = make_mend(make_forward("gpt2"), tmp_path)
    check_not_finite(mend, "the update of '{}' is not finite (NaN or infinity)")


def test_running_moments_are_welfords() -> None:
    vectors = torch.randn(40, 6, dtype=torch.float64) * 3 + 2
    moments = RunningMoments(6, torch.float64)
    for part in vectors.split([1, 7, 0, 30, 2]):
        moments.update(part)
    expected = (vectors - vectors.mean(dim=0)) / (vectors.std(dim=0, unbiased=True) + 1e-7)
    assert torch.allclose(moments.standardise(vectors), expected, atol=1e-12)


# Files


def test_weights_survive_a_round_trip(tmp_path: Path) -> None:
    forward = make_forward("llama")
    network = trained(forward)
    path = tmp_path / "deep" / "mend.safetensors"
    save_weights(path, MEND, network, header(forward, network, data={"sources": {"a": "b"}}))
    assert read_header(path, MEND) == header(forward, network, data={"sources": {"a": "b"}})
    loaded, _ = load(forward, path)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in network.state_dict().items())
    assert [each.name for each in path.parent.iterdir()] == [path.name]  # no temporary file is left


def load(forward: Forward, path: Path, **changes: Any) -> tuple[MendNetwork, WeightsHeader]:
    host = forward.host
    asked: dict[str, Any] = {
        "fingerprint": fingerprint(host.model, host.tokenizer),
        "model": "tiny",
        "dtype": host.precision,
        "layers": LAYERS,
        "matrices": edited_matrices(host, LAYERS),
        "network_dtype": host.edit_dtype,
        "device": host.device,
    }
    return load_weights(path, MEND, **{**asked, **changes})


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    forward, path = make_forward("llama"), tmp_path / "mend.safetensors"
    network = trained(forward)
    save_weights(path, MEND, network, header(forward, network, model="their-model"))
    with pytest.raises(UsageError, match=r"trained for another model: their-model with fingerprint"):
        load(forward, path, fingerprint="0" * 64)
    with pytest.raises(UsageError, match=r"trained for another model \(their-model\)") as caught:
        load(forward, path, matrices=edited_matrices(make_forward("gpt2").host, LAYERS))
    assert "train-mend" in str(caught.value)
    with pytest.raises(UsageError, match="in float64, but this run uses bfloat16"):
        load(forward, path, dtype="bfloat16")
    with pytest.raises(UsageError, match=r"edits the blocks \[2, 3\], but layers is \[1, 2\]"):
        load(forward, path, layers=(1, 2), matrices=edited_matrices(forward.host, (1, 2)))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    forward, path = make_forward("gpt2"), tmp_path / "mend.safetensors"
    network = trained(forward)
    good = header(forward, network).metadata(MEND)
    save_weights(path, MEND, network, header(forward, network))
    tensors = {key: value.clone() for key, value in load_file(path).items()}  # the file is mapped
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match="cannot be read"):
        load(forward, path)
    save_file(tensors, path)
    with pytest.raises(UsageError, match="no MEND network"):
        load(forward, path)
    save_file(tensors, path, metadata={**good, "modules": "[1"})
    with pytest.raises(UsageError, match="header is damaged"):
        load(forward, path)
    del good["rank"]
    save_file(tensors, path, metadata=good)
    with pytest.raises(UsageError, match="header is damaged"):
        load(forward, path)
    spoilt = {**tensors, "alphas": tensors["alphas"] * float("nan")}
    save_file(spoilt, path, metadata=header(forward, network).metadata(MEND))
    with pytest.raises(UsageError, match="NaN"):
        load(forward, path)
    del spoilt["alphas"]
    save_file(spoilt, path, metadata=header(forward, network).metadata(MEND))
    with pytest.raises(UsageError, match="do not fit its header"):
        load(forward, path)


def test_without_weights_the_training_command_is_named(tmp_path: Path) -> None:
    forward = make_forward("gpt2")
    with pytest.raises(UsageError, match="editpitfalls train-mend --model tiny"):
        Mend(MendHyperparameters(layers=LAYERS), resources(forward, tmp_path))


# Training


def options(**values: Any) -> MendTraining:
    quick: dict[str, Any] = {
        "layers": LAYERS,
        "rank": 8,
        "lr": 3e-3,
        "lr_lr": 3e-3,
        "cloc": 0.1,
        "accumulate_bs": 10,
        "max_iters": 120,
        "val_interval": 60,
        "val_steps": 10,
        "val_batch_size": 20,
    }
    return MendTraining(**{**quick, **values})


def training(forward: Forward, data: Path, out: Path, **values: Any) -> MendTrainingRun:
    found = load_training_data(data)
    return MendTrainingRun(forward, "tiny", "f" * 64, found, out, options(**values), max_tokens=200)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_training_lowers_the_loss(name: str, tmp_path: Path) -> None:
    out = tmp_path / "mend.safetensors"
    check_learnt(training(make_forward(name), write_data(tmp_path / "d.jsonl"), out), out, MEND, 120)


def test_the_meta_gradient_is_that_of_the_written_out_update(tmp_path: Path) -> None:
    """By finite differences of a loss computed in place. GPT-NeoX, because its norms do not round to float32."""
    forward = full("gpt_neox")
    run = training(forward, write_data(tmp_path / "d.jsonl"), tmp_path / "m.safetensors")
    network = run.network
    examples = [run._example(number) for number in range(2)]
    gradients = run.objective.gradients(examples)
    network.observe(gradients)
    with torch.no_grad():
        network.alphas.fill_(-0.01)
    losses = run.objective.losses(network, examples, gradients)
    losses.total(0.1, 1.0).sum().backward()
    assert network.alphas.grad is not None
    host = forward.host

    def in_place(row: int) -> float:
        factors = [(u[row].detach(), v[row].detach()) for u, v in network.updates(gradients)]
        changes = [(m.module, u @ v.T) for m, (u, v) in zip(network.matrices, factors, strict=True)]
        example = examples[row]
        with naive.in_place(host.model, changes, False):
            edited = {id(each): logs(each) for each in (example.rephrase, example.locality)}
        target = torch.tensor(example.rephrase.target)[:, None]
        nll = -edited[id(example.rephrase)].gather(1, target).mean()
        base = logs(example.locality)
        kl = (base.exp() * (base - edited[id(example.locality)])).sum(dim=1).mean()
        return float(0.1 * nll + kl)

    def logs(row: TargetRow) -> Tensor:
        with torch.no_grad():
            out = host.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].log_softmax(-1)
        return out[len(row.prompt) - 1 :]

    for row in range(2):
        assert float(losses.total(0.1, 1.0).detach()[row]) == pytest.approx(in_place(row), rel=1e-9)
    for index in (0, 3):
        step = 1e-5
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                network.alphas[index] += sign * step
            values.append(in_place(0) + in_place(1))
            with torch.no_grad():
                network.alphas[index] -= sign * step
        numeric = (values[0] - values[1]) / (2 * step)
        assert float(network.alphas.grad[index]) == pytest.approx(numeric, rel=1e-5)


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    run = partial(training, full("llama"), write_data(tmp_path / "d.jsonl"))
    whole = check_resumed(run, tmp_path, edits=60, steps=6)
    assert float((whole.network.alphas.detach() - 1e-4).abs().min()) > 1e-4  # it has moved


def test_a_step_that_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the second step of Adam: its tokens are not counted twice."""
    forward, data = full("llama"), write_data(tmp_path / "d.jsonl")
    whole = training(forward, data, tmp_path / "whole.safetensors")
    for _ in range(3):
        whole._step()
    half = training(forward, data, tmp_path / "half.safetensors")
    half._step()

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(half.objective, "losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        half._step()
    half.save_checkpoint()
    rest = training(forward, data, tmp_path / "half.safetensors")
    rest.resume()
    for _ in range(2):
        rest._step()
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[key]), key


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    forward, data = make_forward("gpt2"), write_data(tmp_path / "d.jsonl")
    out = tmp_path / "m.safetensors"
    first = training(forward, data, out, max_iters=10)
    with pytest.raises(UsageError, match="no checkpoint"):
        first.resume()
    first.run()
    with pytest.raises(UsageError, match="rank was 8, now it is 4"):
        training(forward, data, out, rank=4).resume()
    write_data(data, 301)
    with pytest.raises(UsageError, match="data was"):
        training(forward, data, out).resume()
    checkpoint_path(out).write_bytes(b"nothing")
    with pytest.raises(UsageError, match="cannot be read"):
        training(forward, data, out).resume()


@pytest.mark.parametrize(
    "spoil",
    [
        {"network": {}},
        {"optimiser": {"state": {}, "param_groups": []}},
        {"state": {"edits": 1}},
        {
            "state": {
                "edits": 1,
                "steps": 1,
                "skipped": 0,
                "best_at": 0,
                "validated_at": 0,
                "first": [1],
                "best": None,
            }
        },
    ],
)
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, spoil: dict[str, Any]) -> None:
    forward, data = make_forward("gpt2"), write_data(tmp_path / "d.jsonl")
    out = tmp_path / "m.safetensors"
    first = training(forward, data, out, max_iters=10)
    first.save_checkpoint()
    first.resume()
    whole = Checkpoint.load(checkpoint_path(out), first._identity())
    replace(whole, **spoil).save(checkpoint_path(out))
    with pytest.raises(UsageError, match="the checkpoint is damaged"):
        first.resume()


def test_training_stops_early(tmp_path: Path) -> None:
    """A learning rate that ruins everything: nothing gets better after the first validation."""
    forward, data = make_forward("gpt2"), write_data(tmp_path / "d.jsonl")
    out = tmp_path / "m.safetensors"
    run = training(forward, data, out, lr_lr=10.0, max_iters=600, val_interval=10, early_stop_patience=30, val_steps=5)
    assert run.run() == "early stop"
    assert run.edits - run.best_at >= 30
    assert run.edits < 600


def test_a_batch_that_is_not_finite_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward, data = make_forward("gpt2"), write_data(tmp_path / "d.jsonl")
    run = training(forward, data, tmp_path / "m.safetensors", max_iters=30)
    run.first = run._validate_first()
    whole = run.objective.losses

    def broken(*args: Any) -> Any:
        losses = whole(*args)
        return replace(losses, edit=losses.edit * float("nan")) if run.edits == 10 else losses

    monkeypatch.setattr(run.objective, "losses", broken)
    run.run()
    assert run.skipped == 10
    assert run.steps == 2
    assert all(bool(value.isfinite().all()) for value in run.network.state_dict().values())


def test_no_subject_of_a_suite_is_trained_on(tmp_path: Path) -> None:
    data = write_data(tmp_path / "d.jsonl")
    lines = data.read_text(encoding="utf-8").splitlines()
    fact = json.loads(lines[0])
    lines += [json.dumps({**fact, "subject": "  FRANCE "}), json.dumps(fact)]
    data.write_text("\n".join(lines), encoding="utf-8")
    found = load_training_data(data)
    subjects = [{fact.request.subject for fact in part} for part in (found.training, found.validation)]
    assert not subjects[0] & subjects[1]
    assert len(subjects[0] | subjects[1]) == 300
    assert found.left_out == {
        "subject in a shipped suite": 1,
        "subject in an excluded file": 0,
        "repeated": 1,
    }
    assert load_training_data(data) == found
    assert load_training_data(data, seed=1) != found
    assert len(load_training_data(data, max_facts=50).training) == 50
    assert load_training_data(data, max_facts=50).validation == found.validation


def test_bad_data_is_named(tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    with pytest.raises(UsageError, match="no such file"):
        load_training_data(data)
    data.write_text('{"prompt": "x", "subject": "a", "target_new": "b", "rephrase": ["c"]}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"d\.jsonl, line 1, field prompt: .*needs a \{\}"):
        load_training_data(data)
    data.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="line 1"):
        load_training_data(data)
    write_data(data, 30)
    with pytest.raises(UsageError, match="are too few"):
        load_training_data(data)
    with pytest.raises(UsageError, match="holds no suite"):
        load_training_data(tmp_path_empty(tmp_path))


def tmp_path_empty(tmp_path: Path) -> Path:
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


@pytest.mark.skipif(os.name == "nt", reason="links of a POSIX system")
def test_a_network_goes_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("there")
    with replacing(tmp_path / "link") as temporary:
        temporary.write_text("network")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_text() == "network"


@pytest.mark.parametrize(("out", "words"), [("-", "is no file"), ("/dev/null", "is no file"), ("d.jsonl/x", "d.jsonl")])
def test_a_place_where_no_network_can_be_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = load_training_data(write_data(tmp_path / "d.jsonl"))
    with pytest.raises(UsageError, match=f"--out: .*{words}"):
        train(
            "mend",
            "absent/model",
            facts,
            Path(out),
            options=MendTraining(layers=[2, 3]),
            device="cpu",
            console=Console(),
        )


def test_train_from_end_to_end(tmp_path: Path) -> None:
    """A model directory, a data file and nothing else; then an edit with the result."""
    model = str(save_tiny(tmp_path / "model", "llama"))
    data, out = write_data(tmp_path / "d.jsonl"), tmp_path / "mend.safetensors"
    given = {"rank": "4", "lr": "1e-3", "max_iters": "20", "val_steps": "5", "layers": "[2, 3]"}
    console = Console(record=True, width=100)
    options, facts = training_options("mend", model, given), load_training_data(data)
    run, stopped = train("mend", model, facts, out, options=options, device="cpu", console=console)
    assert (run.edits, run.steps, stopped) == (20, 2, "max_iters")
    text = console.export_text()
    assert "270 facts to train on, 30 to validate with" in text
    assert "edit success" in text
    assert "mend.weights=" in text
    with pytest.raises(UsageError, match="checkpoint of an earlier training"):
        train("mend", model, facts, out, options=options, device="cpu", console=console)
    with pytest.raises(UsageError, match=r"--set rnak: unknown .*\n.*did you mean 'rank'"):
        training_options("mend", model, {"rnak": "4"})
    assert read_header(out, MEND).layers == LAYERS
