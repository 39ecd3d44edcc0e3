"""RLEdit: against the equations in place, batches, chains, training, and what it refuses."""

from __future__ import annotations

import gc
import itertools
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_models import save_tiny
from torch import Tensor

from pytest_editpitfalls.cli.network_training import load_training_data, train, training_options
from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.mend.training import MEND
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.rledit.editor import Rledit
from pytest_editpitfalls.engine.editors.rledit.hyperparameters import RleditHyperparameters, RleditTraining
from pytest_editpitfalls.engine.editors.rledit.network import RleditNetwork
from pytest_editpitfalls.engine.editors.rledit.training import RLEDIT, RleditTrainingRun
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.hypernetworks.display import Validation
from pytest_editpitfalls.engine.hypernetworks.examples import Example
from pytest_editpitfalls.engine.hypernetworks.weights import WeightsHeader, save_weights
from pytest_editpitfalls.engine.lifelong_updates import AnswerTokens, grown, least_squares, shape_name
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.engine.token_gradients import Matrix, TargetRow, named_matrices
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import make_forward
from tests.engine.locate_then_edit import is_transposed
from tests.engine.token_gradient_editors import (
    LAYERS,
    REQUESTS,
    Plain,
    assert_close,
    check_bad_request,
    check_batched,
    check_chain,
    check_learnt,
    check_not_finite,
    check_resumed,
    matrices,
    resources,
    write_data,
)
from tests.engine.token_gradient_editors import header as any_header

FAMILIES = ["gpt2", "llama", "gpt_neox", "gemma3"]


def trained(forward: Forward, edited: Sequence[Matrix], *, lr: float = 0.03, seed: int = 3) -> RleditNetwork:
    """A network with parameters away from the identity, and with moments of tokens that nobody has seen."""
    dtype = forward.host.edit_dtype
    network = RleditNetwork(edited, 5, 2, lr=lr, seed=seed, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: Tensor) -> Tensor:
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(dtype)

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter += (0.2 * parameter if name.endswith("step_sizes") else 0.1) * noise(parameter)
    moments = {}
    for matrix in edited:
        own = AnswerTokens(noise(torch.empty(6, matrix.d_k)).double(), 0.1 * noise(torch.empty(6, matrix.d_o)).double())
        moments = grown(moments, [matrix], [own])
    network.keep(moments)
    return network


def header(forward: Forward, network: RleditNetwork, **changes: Any) -> WeightsHeader:
    return any_header(forward, network, **{"options": {"n_blocks": network.n_blocks, "loss": "sum"}, **changes})


def down_projections(forward: Forward, layers: Sequence[int] = LAYERS) -> tuple[Matrix, ...]:
    return named_matrices(forward.host, layers, (), editor="rledit")


def make(forward: Forward, tmp_path: Path, network: RleditNetwork | None = None, **changes: Any) -> Rledit:
    path = tmp_path / "rledit.safetensors"
    network = network or trained(forward, down_projections(forward))
    save_weights(path, RLEDIT, network, header(forward, network, **changes))
    return Rledit(RleditHyperparameters(layers=LAYERS, weights=path), resources(forward, tmp_path))


class PlainRledit(Plain):
    """The release's way: a network for each shape, one token after another, one solve of a d_k x d_k system."""

    def __init__(self, forward: Forward, network: RleditNetwork) -> None:
        super().__init__(forward.host, [matrix.module for matrix in network.matrices], 0.0, 0)
        self.values = {name: value.detach() for name, value in network.state_dict().items()}
        self.n_blocks = network.n_blocks
        for matrix in network.matrices:
            own = f"shapes.{shape_name(matrix)}."
            moments = (self.values[own + each] for each in ("count", "mean", "squares"))
            self.moments[matrix.d_k, matrix.d_o] = tuple(moments)  # type: ignore[assignment]

    def edit(self, requests: Sequence[EditRequest]) -> None:
        found = [self.tokens(request) for request in requests]
        self.observe(found)
        eps = torch.finfo(torch.float32).eps
        seen: dict[str, int] = {}
        for name in self.names:
            x, g = (torch.cat([each[name][side] for each in found]) for side in (0, 1))
            own = f"shapes.{g.shape[1]}x{x.shape[1]}."
            member = seen[own] = seen.get(own, -1) + 1
            n, mean, squares = self.moments[x.shape[1], g.shape[1]]
            wanted = []
            for one_x, one_g in zip(x, g, strict=True):
                h = (torch.cat([one_x, one_g]) - mean) / ((squares / (n - 1 + eps)).sqrt() + eps)
                for block in range(self.n_blocks):
                    a, b, bias, scale, shift = (
                        self.values[f"{own}blocks.{block}.{each}"] for each in ("a", "b", "bias", "scale", "shift")
                    )
                    h = h + scale[member] * (b.T @ (a.T @ h) + bias).relu() + shift[member]
                step = self.values[own + "step_sizes"][member]
                wanted.append(-step * (one_x @ h[: len(one_x)]) * h[len(one_x) :])
            ridge = self.values[own + "log_ridges"][member].exp()
            known = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
            shift = torch.linalg.solve(known, x.T @ torch.stack(wanted))
            weight = self.model.get_submodule(name).weight
            with torch.no_grad():
                weight += shift if type(self.model.get_submodule(name)).__name__ == "Conv1D" else shift.T
            self.updates[name] = self.updates.get(name, 0) + shift.T


@pytest.mark.parametrize("name", FAMILIES)
def test_a_chain_is_the_plain_way_s(name: str, tmp_path: Path) -> None:
    """With the moments that the first step left."""
    forward = make_forward(name, torch.float64)
    network = trained(forward, down_projections(forward))
    plain = PlainRledit(forward, network)
    check_chain(make(forward, tmp_path, network), plain)
    assert min(float(update.norm()) for update in plain.updates.values()) > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_batched_equals_one_by_one(name: str, tmp_path: Path) -> None:
    forward = make_forward(name, torch.float64)
    editor = make(forward, tmp_path)
    (chained,) = editor.edit([EditJob("c", 1, tuple(REQUESTS[:1]))])
    check_batched(forward, editor, EditJob("c", 2, tuple(REQUESTS[2:]), chained.model, chained.state))


def test_matrices_of_several_shapes_by_name(tmp_path: Path) -> None:
    """As published for Llama: each shape has its own network, and what is kept is by shape."""
    forward = make_forward("llama", torch.float64)
    names = [f"model.layers.{layer}.mlp.{path}" for path in ("gate_proj", "down_proj") for layer in LAYERS]
    network = trained(forward, named_matrices(forward.host, (), names, editor="rledit"))
    path = tmp_path / "r.safetensors"
    save_weights(path, RLEDIT, network, header(forward, network, layers=()))
    editor = Rledit(RleditHyperparameters(edit_modules=names, weights=path), resources(forward, tmp_path))
    plain = PlainRledit(forward, network)
    (result,) = editor.edit([EditJob("a", 1, tuple(REQUESTS))])
    plain.edit(REQUESTS)
    assert_close(matrices(result), plain.updates, 1e-7)
    assert editor.describe()["network"]["matrices"] == names
    assert set(result.state) == {shape_name(matrix) for matrix in network.matrices}
    with pytest.raises(UsageError, match=r"the network edits the matrices .*, but edit_modules is \[") as caught:
        Rledit(RleditHyperparameters(edit_modules=names[:1], weights=path), resources(forward, tmp_path))
    assert f'--pitfalls-set \'rledit.edit_modules=["{names[0]}", ' in str(caught.value)


def test_a_training_with_means_is_applied_with_means(tmp_path: Path) -> None:
    forward = make_forward("llama", torch.float64)
    network = trained(forward, down_projections(forward))
    jobs = [EditJob("a", 1, tuple(REQUESTS))]
    by_sum = matrices(make(forward, tmp_path, network).edit(jobs)[0])
    options = {"n_blocks": network.n_blocks, "loss": "mean"}
    by_mean = matrices(make(forward, tmp_path, network, options=options).edit(jobs)[0])
    with pytest.raises(AssertionError):
        assert_close(by_sum, by_mean, 1e-3)


def test_a_job_that_is_not_finite_is_an_error_of_its_own(tmp_path: Path) -> None:
    check_not_finite(make(make_forward("gpt2"), tmp_path))


def test_an_update_that_cannot_be_solved_for_is_not_finite() -> None:
    u, _ = least_squares(torch.full((2, 3), torch.nan), torch.ones(2, 4), 1.0)
    assert u.shape == (4, 2)
    assert bool(u.isnan().all())


def test_one_bad_request_is_an_error_of_its_own(tmp_path: Path) -> None:
    editor = make(make_forward("gpt2"), tmp_path)
    check_bad_request(editor)
    bad = replace(REQUESTS[0], prompt="The capital is")
    assert "has no {}" in str(editor.edit([EditJob("b", 2, (bad,))])[0].error)


def test_what_is_no_network_for_it_is_refused(tmp_path: Path) -> None:
    forward = make_forward("gpt2")
    with pytest.raises(UsageError, match=r"RLEdit needs a network that was trained.*\n.*train-rledit --model tiny"):
        Rledit(RleditHyperparameters(layers=LAYERS), resources(forward, tmp_path))
    with pytest.raises(UsageError, match="header is damaged"):
        make(forward, tmp_path, options={"n_blocks": 2})
    with pytest.raises(UsageError, match="header is damaged"):
        make(forward, tmp_path, options={"n_blocks": 10**9, "loss": "sum"})
    network = trained(forward, down_projections(forward))
    path = tmp_path / "mend.safetensors"
    save_weights(path, MEND, network, header(forward, network))  # type: ignore[arg-type, misc]
    with pytest.raises(UsageError, match=r"no RLEdit network .*MEND 1.*\n.*the file that train-rledit wrote"):
        Rledit(RleditHyperparameters(layers=LAYERS, weights=path), resources(forward, tmp_path))


def test_a_preset_s_matrices_are_trained_and_edited() -> None:
    """The published ones; the editor and its training have the same."""
    for model, n_layers, count in (("llama-3-8b", 32, 18), ("gemma-2-9b", 42, 18), ("mistral-7b", 32, 2)):
        both = [
            resolve_hyperparameters("rledit", kind, model, n_layers) for kind in (RleditHyperparameters, RleditTraining)
        ]
        assert both[0].edit_modules == both[1].edit_modules
        assert both[0].layers == both[1].layers
        assert len(both[0].edit_modules or both[0].layers) == count


# Training


def options(**values: Any) -> RleditTraining:
    quick: dict[str, Any] = {
        "layers": LAYERS,
        "rank": 8,
        "n_blocks": 2,
        "lr": 1e-3,
        "meta_lr": 5e-3,
        "loc_coef": 0.1,
        "n_edits": 5,
        "num_seq": 2,
        "max_iters": 100,
        "val_interval": 50,
        "val_steps": 10,
    }
    return RleditTraining(**{**quick, **values})


def training(forward: Forward, data: Path, out: Path, **values: Any) -> RleditTrainingRun:
    found = load_training_data(data)
    return RleditTrainingRun(forward, "tiny", "f" * 64, found, out, options(**values), max_tokens=200)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_training_lowers_the_loss(name: str, tmp_path: Path) -> None:
    out = tmp_path / "r.safetensors"
    run = training(make_forward(name), write_data(tmp_path / "d.jsonl"), out)
    written = check_learnt(run, out, RLEDIT, 100)
    assert run.steps == 10
    assert (written.options["seed"], written.layers) == (0, LAYERS)


def test_the_meta_gradient_is_that_of_the_chain_written_in_place(tmp_path: Path) -> None:
    """By finite differences: step t's own update, judged by its facts and those of the steps before."""
    forward = make_forward("gpt_neox", torch.float64)
    values = {"n_edits": 2, "num_seq": 3, "back_depth": 2, "reg_coef": 0.3, "max_grad_norm": 1e9, "lr": 0.1}
    values["loc_coef"] = 20.0
    run = training(forward, write_data(tmp_path / "d.jsonl"), tmp_path / "r.safetensors", **values)
    network, option = run.network, options(**values)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.endswith("step_sizes"):
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.manual_seed(1), dtype=torch.float64)
    steps = [[run._example(number) for number in pair] for pair in ((0, 1), (2, 3), (4, 5))]
    recorded: list[tuple[list[AnswerTokens], Any]] = []
    whole = run._factors

    def record(network: Any, tokens: Any, moments: Any) -> Any:
        recorded.append((tokens, moments))
        return whole(network, tokens, moments)

    run._factors = record  # type: ignore[method-assign]
    losses = run.learn([example for step in steps for example in step])
    assert sum(len(each.edit) for each in losses) == 6

    host = forward.host
    names = [matrix.module for matrix in network.matrices]

    def updates(step: int) -> list[Tensor]:
        tokens, moments = recorded[step]
        found = []
        for index, (matrix, own) in enumerate(zip(network.matrices, tokens, strict=True)):
            standardised = moments[shape_name(matrix)].standardised(own.both)
            u, v = least_squares(own.x, network.wanted(index, own.x, standardised), network.ridge(index))
            found.append((u @ v.T).detach())
        return found

    def logs(row: TargetRow, weights: list[Tensor]) -> Tensor:
        with naive.in_place(host.model, list(zip(names, weights, strict=True)), is_transposed(host)), torch.no_grad():
            out = host.model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].log_softmax(-1)
        return out[len(row.prompt) - 1 :]

    def judged(example: Example, before: list[Tensor], after: list[Tensor]) -> float:
        nll = -logs(example.rephrase, after).gather(1, torch.tensor(example.rephrase.target)[:, None]).mean()
        base, edited = (logs(example.locality, each) for each in (before, after))
        return float(nll + option.loc_coef * (base.exp() * (base - edited)).sum(dim=1).mean())

    fixed = [updates(step) for step in range(3)]
    before = [
        list(each)
        for each in itertools.accumulate(
            fixed,
            lambda a, b: [x + y for x, y in zip(a, b, strict=True)],
            initial=[torch.zeros_like(w) for w in fixed[0]],
        )
    ]

    def loss() -> float:
        value = 0.0
        for step in range(3):
            new = updates(step)
            after = [w + update for w, update in zip(before[step], new, strict=True)]
            value += option.reg_coef * sum(float(update.square().sum()) for update in new)
            for back in range(min(step + 1, option.back_depth)):
                share = option.time_decay**back / 4
                value += share * sum(judged(example, before[step], after) for example in steps[step - back])
        return value

    for name, parameter in network.named_parameters():
        if not name.endswith(("step_sizes", "log_ridges", "blocks.1.b", "blocks.0.scale")):
            continue
        assert parameter.grad is not None
        place = int(parameter.grad.abs().argmax())
        flat = parameter.data.view(-1)
        value = float(flat[place])
        found = []
        for sign in (1, -1):
            flat[place] = value + sign * 1e-5
            found.append(loss())
        flat[place] = value
        numeric = (found[0] - found[1]) / 2e-5
        assert abs(numeric) > 1e-5, name
        assert float(parameter.grad.view(-1)[place]) == pytest.approx(numeric, rel=1e-4), name


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    run = partial(training, make_forward("llama", torch.float64), write_data(tmp_path / "d.jsonl"))
    check_resumed(run, tmp_path, edits=40, steps=4)


def test_a_step_that_is_not_finite_is_left_out_of_its_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(make_forward("gpt2"), write_data(tmp_path / "d.jsonl"), tmp_path / "r.safetensors", max_iters=30)
    whole, calls = run._losses, itertools.count()

    def broken(*args: Any) -> Any:
        spoilt = next(calls) == 0
        for losses in whole(*args):
            yield replace(losses, edit=losses.edit * float("nan")) if spoilt else losses

    run.first = run._validate_first()
    monkeypatch.setattr(run, "_losses", broken)
    run.run()
    assert run.skipped == 5
    assert run.steps == 3
    assert all(bool(value.isfinite().all()) for value in run.network.state_dict().values())


def test_a_gradient_that_overflows_costs_its_step_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses are finite, but what reaches the network is not."""
    run = training(make_forward("gpt2"), write_data(tmp_path / "d.jsonl"), tmp_path / "r.safetensors")
    whole, calls = run._factors, itertools.count()

    def steep(*args: Any) -> Any:
        factors = whole(*args)
        if next(calls) == 1:
            factors = [(u + (u * 1e300 - (u * 1e300).detach()), v) for u, v in factors]
        return factors

    monkeypatch.setattr(run, "_factors", steep)
    done = run.learn([run._example(number) for number in range(15)])
    assert run.skipped == 5
    assert sum(len(losses.edit) for losses in done) == 10
    gradients = [parameter.grad for parameter in run.network.parameters()]
    assert all(each is not None and bool(each.isfinite().all()) for each in gradients)
    assert any(bool(each.any()) for each in gradients if each is not None)


@pytest.mark.parametrize("steps", [1, 2])
def test_a_chain_that_is_not_finite_is_judged_as_infinitely_bad(steps: int, tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "d.jsonl"), tmp_path / "r.safetensors"
    run = training(make_forward("gpt2"), data, out, val_steps=5 * steps)
    with torch.no_grad():
        for name, parameter in run.network.named_parameters():
            if name.endswith("step_sizes"):
                parameter.fill_(torch.inf)
    found = run._validate(run.network)
    assert (found.total, found.success) == (float("inf"), 0.0)


def test_any_loss_is_better_than_nan() -> None:
    nan, inf, good = (Validation(total, total, total, 0.0) for total in (float("nan"), float("inf"), 3.0))
    key = "loss/total_edit_val"
    assert good.better_than(nan, key)
    assert good.better_than(inf, key)
    assert not nan.better_than(good, key)
    assert not inf.better_than(nan, key)


def edited_alive(run: RleditTrainingRun) -> int:
    """Matrices of the edited ones' shape that are alive, the model's own aside."""
    gc.collect()
    shapes = {matrix.shape for matrix in run.network.matrices}
    tensors = (each for each in gc.get_objects() if type(each) is Tensor)
    return sum(1 for each in tensors if tuple(each.shape) in shapes and each.requires_grad and each.is_leaf)


def test_a_longer_chain_takes_no_more_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = training(make_forward("gpt2"), write_data(tmp_path / "d.jsonl"), tmp_path / "r.safetensors", n_edits=1)
    whole, alive = run._tokens, []

    def count(*args: Any) -> Any:
        alive.append(edited_alive(run))
        return whole(*args)

    monkeypatch.setattr(run, "_tokens", count)
    done = run.learn([run._example(number) for number in range(6)])
    assert alive[-1] == alive[1]
    assert all(losses.edit.grad_fn is None and losses.locality.grad_fn is None for losses in done)


def test_a_chain_that_was_interrupted_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of the second chain: what it has seen and skipped is not counted twice."""
    forward, data = make_forward("llama", torch.float64), write_data(tmp_path / "d.jsonl")
    values = {"max_iters": 45, "val_interval": 45, "num_seq": 3}
    broken = 20 // 5  # the second chain's first step is left out, its third one is interrupted

    def spoil(run: RleditTrainingRun, interrupted: int | None) -> None:
        whole, calls = run._tokens, itertools.count(run.edits // 5)

        def tokens(step: Any, weights: Any) -> Any:
            number = next(calls)
            if number == interrupted:
                raise KeyboardInterrupt
            found = whole(step, weights)
            return [replace(own, g=own.g * float("nan")) for own in found] if number == broken else found

        monkeypatch.setattr(run, "_tokens", tokens)
        run.first = run.first or Validation(1.0, 1.0, 1.0, 0.0)

    whole = training(forward, data, tmp_path / "whole.safetensors", **values)
    spoil(whole, None)
    while whole.edits < 45:
        whole._step()
    half = training(forward, data, tmp_path / "half.safetensors", **values)
    spoil(half, 5)
    with pytest.raises(KeyboardInterrupt):
        half.run()
    half.save_checkpoint()
    rest = training(forward, data, tmp_path / "half.safetensors", **values)
    rest.resume()
    assert (rest.edits, rest.steps, rest.skipped) == (15, 1, 0)
    spoil(rest, None)
    while rest.edits < 45:
        rest._step()
    for key, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[key]), key
    assert (rest.steps, rest.skipped) == (whole.steps, whole.skipped) == (3, 5)


def test_ctrl_c_waits_for_adam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain whose step of Adam was left out, or half made, could not be told from one that counts."""
    data, out = write_data(tmp_path / "d.jsonl"), tmp_path / "r.safetensors"
    run = training(make_forward("gpt2"), data, out, n_edits=2)
    before = {name: each.clone() for name, each in run.network.named_parameters()}
    adam, handler = run.optimiser.step, signal.default_int_handler
    outside = signal.signal(signal.SIGINT, handler)  # pytest-xdist's workers ignore it

    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        adam()

    monkeypatch.setattr(run.optimiser, "step", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            run._step()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, outside)
    assert (run.edits, run.steps) == (4, 1)
    assert any(not torch.equal(each, before[name]) for name, each in run.network.named_parameters())


def test_from_a_model_and_data_to_an_edit(tmp_path: Path) -> None:
    model = str(save_tiny(tmp_path / "model", "llama"))
    data, out = write_data(tmp_path / "d.jsonl"), tmp_path / "rledit.safetensors"
    given = {"rank": "4", "n_blocks": "1", "n_edits": "5", "num_seq": "2", "max_iters": "20", "val_steps": "5"}
    console = Console(record=True, width=400)
    chosen, facts = training_options("rledit", model, given), load_training_data(data)
    assert chosen.layers == (2,)
    run, stopped = train("rledit", model, facts, out, options=chosen, device="cpu", console=console)
    assert (run.edits, run.steps, stopped) == (20, 2, "max_iters")
    assert "--editor=rledit --pitfalls-set rledit.weights=" in console.export_text()
    settings = EngineSettings(model, device="cpu", overrides={"rledit": {"weights": str(out)}})
    told = EngineSession.open(settings).describe("rledit")
    assert told["editor"]["network"]["options"]["num_seq"] == 2
    assert told["editor"]["network"]["data"]["sources"].keys() == {"d.jsonl"}


def test_experts_are_refused_before_the_training(tmp_path: Path) -> None:
    model = str(save_tiny(tmp_path / "model", "mixtral"))
    facts = load_training_data(write_data(tmp_path / "d.jsonl"))
    for editor in ("rledit", "mend"):
        with pytest.raises(UsageError, match=rf"{editor} cannot edit a mixture of experts"):
            train(
                editor,
                model,
                facts,
                tmp_path / "r.safetensors",
                options=EDITORS.get(editor).training_class().options_class(layers=[2]),
                device="cpu",
                console=Console(record=True),
            )
