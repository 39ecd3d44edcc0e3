"""A user's in-place editor: what it changed is found, asked in every state, and put back."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources, EditResult
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.in_place.declare import declaration_of, in_place_editor
from pytest_editpitfalls.engine.in_place.pristine import Pristine, checksums, copy_on_write, same_bits
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.overlay import DenseDelta, LowRankDelta, ModelDifference, Overlay
from pytest_editpitfalls.engine.runner import edited_model_of, run_batch
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, EditRequest, State
from tests.tiny_models import tiny_model

STATES = (State("0", ()), State("1", (0,)), State("12", (0, 1)), State("2", (1,)))
PROMPTS = ("The capital of France is", "Danielle Darrieux speaks")
TARGETS = ("Rome", "the queen of Spain")
FAMILIES = ("gpt2", "llama", "gpt_neox")


def program(case_id: str = "P0001", together: int = 1) -> Program:
    first = tuple(
        EditRequest("The capital of {} is", "France", f"Rome{'!' * i}", "Paris", "P36") for i in range(together)
    )
    second = (EditRequest("{} speaks", "Danielle Darrieux", "Russian", relation="P103"),)
    probes = tuple(Probe("fact", state.name, PROMPTS, target) for state in STATES for target in TARGETS)
    return Program(case_id, (first, second), STATES, probes)


class Bench:
    """A fresh tiny model and the way from a function to scores."""

    def __init__(self, family: str = "llama", dtype: torch.dtype = torch.float64) -> None:
        model, self.tokenizer = tiny_model(family, dtype=dtype)
        self.model = copy.deepcopy(model)
        self.host = ModelAdapter.of(self.model, self.tokenizer, family_for(self.model.config))
        self.forward = Forward(self.host)
        self.before = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def editor(self, value: Any, **overrides: str) -> Any:
        declaration = declaration_of("mine", value, where="a test")
        values = resolve_hyperparameters(
            "mine", declaration.hyperparameter_class(), "tiny", self.host.n_layers, None, overrides
        )
        settings: Any = EngineSettings("tiny")
        moments: Any = None
        return declaration.make(values, EditorResources(self.host, self.forward, moments, settings, 200))

    def scores(self, value: Any, *programs: Program, **overrides: str) -> list[CaseScores]:
        editor = self.editor(value, **overrides)
        scorer = Scorer(self.forward, max_tokens=200)
        return run_batch(editor, scorer, self.host.encoder, list(programs) or [program()])

    def check_restored(self) -> None:
        after = self.model.state_dict()
        assert list(after) == list(self.before)
        assert all(same_bits(after[name], tensor) for name, tensor in self.before.items())
        assert not any(parameter.requires_grad for parameter in self.model.parameters())
        assert not any(module.training for module in self.model.modules())
        assert not any(vars(module)["_forward_hooks"] for module in self.model.modules())
        assert all("forward" not in vars(module) for module in self.model.modules())


def matrix(model: Any) -> nn.Parameter:
    """A matrix of the last block but one."""
    names = [n for n, p in model.named_parameters() if p.ndim == 2 and ".2." in n and "mlp" in n]
    found: nn.Parameter = model.get_parameter(names[-1])
    return found


def by_gradient(model: Any, tokenizer: Any, requests: list[dict[str, Any]], lr: float = 0.05) -> Any:
    """One gradient step on every parameter, as an ordinary fine-tuning script does it."""
    for request in requests:
        text = request["prompt"].format(request["subject"]) + " " + request["target_new"]
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= lr * parameter.grad
    return model


def naive_probabilities(bench: Bench, edit: Callable[..., Any]) -> list[tuple[float, ...]]:
    """Every state computed the slow way: a deep copy for each, edited, asked one row at a time."""
    answers = []
    case = program()
    for state in STATES:
        model = copy.deepcopy(bench.model)
        for step in state.steps:
            model.requires_grad_(True)
            requests = [
                {"prompt": r.prompt, "subject": r.subject, "target_new": r.target_new} for r in case.steps[step]
            ]
            for parameter in model.parameters():
                parameter.grad = None
            edit(model, bench.tokenizer, requests)
        answers += [tuple(naive_probability(bench, model, prompt, target) for prompt in PROMPTS) for target in TARGETS]
    return answers


def naive_probability(bench: Bench, model: Any, prompt: str, target: str) -> float:
    own = bench.host.encoder.prompt(prompt)
    wanted = bench.host.encoder.target(target)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*own, *wanted]])).logits[0]
    found = logits[len(own) - 1 : -1].log_softmax(1).gather(1, torch.tensor(wanted)[:, None])
    return math.exp(float(found.mean()))


def errors(answers: list[CaseScores]) -> str:
    (answer,) = answers
    return answer.error or ""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_state_is_the_slow_way_s(family: str) -> None:
    bench = Bench(family)
    expected = naive_probabilities(bench, by_gradient)
    (answer,) = bench.scores(by_gradient)
    assert answer.error is None
    found = [probe.probabilities for probe in answer.probes]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    assert found[0] != pytest.approx(found[2], rel=1e-3)  # the edit does something
    bench.check_restored()


@pytest.mark.parametrize("way", ["copy", "tuple", "parameter", "data", "nothing"])
def test_all_ways_to_hand_the_edit_back(way: str) -> None:
    def edit(model: Any, _tokenizer: Any, requests: Any) -> Any:
        if way == "copy":
            model = copy.deepcopy(model)
        with torch.no_grad():
            weight = matrix(model)
            new = weight * 1.5 + len(requests[0]["subject"])
            if way == "parameter":
                name = next(n for n, p in model.named_parameters() if p is weight)
                owner, _, key = name.rpartition(".")
                setattr(model.get_submodule(owner), key, nn.Parameter(new))
            elif way == "data":
                weight.data = new
            else:
                weight.copy_(new)
        return {"copy": model, "tuple": (model, {}), "nothing": None}.get(way, model)

    def plain(model: Any, _tokenizer: Any, requests: Any) -> None:
        with torch.no_grad():
            weight = matrix(model)
            weight.copy_(weight * 1.5 + len(requests[0]["subject"]))

    bench = Bench("gpt2")
    expected = naive_probabilities(bench, plain)
    (answer,) = bench.scores(edit)
    assert answer.error is None
    assert answer.notes == ()
    for probe, other in zip(answer.probes, expected, strict=True):
        assert probe.probabilities == pytest.approx(other, rel=1e-9)
    bench.check_restored()


def test_only_what_changed_is_kept() -> None:
    bench = Bench("llama")

    def edit(model: Any, _tokenizer: Any, _requests: Any) -> None:
        with torch.no_grad():
            matrix(model)[0, 0] += 1

    editor = bench.editor(edit)
    (difference,) = edited_model_of(editor, program(), "12")
    assert isinstance(difference, ModelDifference)
    assert len(difference.values) == 1
    assert difference.nbytes() == matrix(bench.model).nbytes
    assert difference.lowest_layer(bench.host.family.blocks, bench.host.n_layers) == 2
    assert not difference.whole_rows
    (name,) = difference.values
    assert float(difference.values[name].flatten()[0] - bench.before[name].flatten()[0]) == pytest.approx(2)
    with Overlay(bench.host, [(difference,)]).serving(0):
        assert float(matrix(bench.model)[0, 0]) == pytest.approx(float(bench.before[name][0, 0]) + 2)
    bench.check_restored()


def test_tied_weights_stay_tied_and_count_once() -> None:
    bench = Bench("gpt2")
    assert bench.model.lm_head.weight is bench.model.transformer.wte.weight

    def edit(model: Any, _tokenizer: Any, _requests: Any) -> None:
        with torch.no_grad():
            model.lm_head.weight.mul_(1.1)

    (difference,) = edited_model_of(bench.editor(edit), program(), "1")
    assert list(difference.values) == ["transformer.wte.weight"]
    assert difference.lowest_layer(bench.host.family.blocks, bench.host.n_layers) == 0
    expected = naive_probabilities(bench, edit)
    (answer,) = bench.scores(edit)
    for probe, other in zip(answer.probes, expected, strict=True):
        assert probe.probabilities == pytest.approx(other, rel=1e-9)
    assert bench.model.lm_head.weight is bench.model.transformer.wte.weight
    bench.check_restored()

    def untie(model: Any, _tokenizer: Any, _requests: Any) -> None:
        model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach() * 2)

    assert "untied the weights transformer.wte.weight and lm_head.weight" in errors(bench.scores(untie))
    assert bench.model.lm_head.weight is bench.model.transformer.wte.weight
    bench.check_restored()


def test_it_is_called_with_an_ordinary_model_and_the_field_s_requests() -> None:
    seen: list[Any] = []

    @in_place_editor(targets="str")
    def edit(model: Any, tokenizer: Any, requests: Any, lr: float = 0.1, **more: Any) -> Any:
        seen.append((requests, lr, more, torch.is_grad_enabled(), model.training, torch.rand(1).item()))
        assert all(parameter.requires_grad for parameter in model.parameters())
        assert tokenizer("a")["input_ids"]
        with torch.no_grad():
            matrix(model).mul_(2)
        return model

    bench = Bench()
    (answer,) = bench.scores(edit, program(together=2), lr="0.5", beta="[1, 2]")
    assert answer.error is None
    requests, lr, more, grad, training, _ = seen[0]
    assert requests == [
        {
            "case_id": "P0001",
            "step": 1,
            "prompt": "The capital of {} is",
            "subject": "France",
            "target_new": {"str": new},
            "target_true": {"str": "Paris"},
            "joiner": " ",
            "relation_id": "P36",
        }
        for new in ("Rome", "Rome!")
    ]
    assert (lr, more, grad, training) == (0.5, {"beta": [1, 2]}, True, False)
    assert len(seen) == 3  # edit 1, edit 2 alone, edit 2 after edit 1
    bench.scores(edit, program(together=2))
    assert [each[-1] for each in seen[:3]] == [each[-1] for each in seen[3:]]  # seeded by case and step


def left(model: Any, kind: str) -> None:
    block = model.get_submodule("model.layers.2.mlp")
    if kind == "hook":
        block.register_forward_hook(lambda _m, _a, out: out * 1.1)
    elif kind == "pre-hook":
        block.register_forward_pre_hook(lambda _m, args: args)
    elif kind == "backward":
        block.register_full_backward_hook(lambda *_: None)
    elif kind == "gradient":
        block.down_proj.weight.register_hook(lambda grad: grad)
    elif kind == "global":
        nn.modules.module.register_module_forward_hook(lambda *_: None)
    elif kind == "buffer":
        block.register_buffer("codes", torch.zeros(3))
    elif kind == "parameter":
        block.register_parameter("codes", nn.Parameter(torch.zeros(3)))
    elif kind == "module":
        block.down_proj = nn.Sequential(block.down_proj)
    elif kind == "forward":
        own = block.forward
        block.forward = lambda x: own(x) * 1.1


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("hook", "a forward hook on 'model.layers.2.mlp'"),
        ("pre-hook", "a forward pre-hook on 'model.layers.2.mlp'"),
        ("backward", "a backward hook on 'model.layers.2.mlp'"),
        ("gradient", "a gradient hook on 'model.layers.2.mlp.down_proj.weight'"),
        ("global", "a forward hook on every module"),
        ("buffer", "an added buffer 'codes' on 'model.layers.2.mlp'"),
        ("parameter", "an added parameter 'codes' on 'model.layers.2.mlp'"),
        ("module", "a replaced module 'down_proj' on 'model.layers.2.mlp'"),
        ("forward", "an added attribute 'forward' on 'model.layers.2.mlp'"),
    ],
)
def test_what_is_left_on_the_model_is_named_and_removed(kind: str, words: str) -> None:
    def edit(model: Any, _tokenizer: Any, requests: Any) -> None:
        with torch.no_grad():
            model.model.layers[1].mlp.down_proj.weight.mul_(1.01)
        if requests[0]["subject"] == "Danielle Darrieux":
            left(model, kind)

    bench = Bench()
    modules = dict(bench.model.named_modules())
    other = Program("fine", program().steps[:1], STATES[:2], program().probes[:4])
    broken, fine = bench.scores(edit, program(), other)
    assert (broken.error or "").startswith("editor 'mine', edit 2: left ")
    assert words in (broken.error or "")
    assert fine.error is None
    assert fine.probes
    assert dict(bench.model.named_modules()) == modules
    assert not nn.modules.module._global_forward_hooks
    bench.check_restored()


@pytest.mark.parametrize("kind", ["hook", "module", "forward", "wrapper"])
def test_kept_attachments_are_scored_as_part_of_the_edit(kind: str) -> None:
    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner
            self.factor = nn.Parameter(torch.tensor(1.1, dtype=torch.float64))
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Any) -> Any:
            return self.dropout(self.inner(x)) * self.factor

    def edit(model: Any, _tokenizer: Any, requests: Any) -> Any:
        if kind == "wrapper":  # the second edit goes on with the first one's
            block = model.model.layers[2].mlp
            if not isinstance(block.down_proj, Wrapper):
                block.down_proj = Wrapper(block.down_proj)
            with torch.no_grad():
                block.down_proj.factor += len(requests[0]["subject"]) / 10
            block.down_proj.eval()
        else:
            left(model, kind)
            with torch.no_grad():
                model.model.layers[1].mlp.down_proj.weight.mul_(1.3)
        return model

    bench = Bench()
    expected = naive_probabilities(bench, edit)
    (answer,) = bench.scores(in_place_editor(keeps="attachments")(edit))
    assert answer.error is None
    for probe, other in zip(answer.probes, expected, strict=True):
        assert probe.probabilities == pytest.approx(other, rel=1e-9)
    (difference,) = edited_model_of(bench.editor(edit), program(), "12")
    assert difference.whole_rows
    with Overlay(bench.host, [(difference,)]).serving(0):
        ids = torch.tensor([bench.host.encoder.prompt(PROMPTS[0])])
        inside = bench.model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)
        assert inside.shape[1] == ids.shape[1] + 2
    bench.check_restored()
    assert not any(isinstance(module, Wrapper) for module in bench.model.modules())


def test_a_method_of_a_class_is_put_back() -> None:
    """What is changed in a class would be in every later case, and in the base model."""

    def edit(model: Any, _tokenizer: Any, _requests: Any) -> Any:
        kind = type(model.model.layers[1].mlp)
        plain = kind.forward
        kind.forward = lambda self, x: plain(self, x) * 1.5
        return model

    bench = Bench()
    kind = type(bench.model.model.layers[1].mlp)
    plain = kind.forward
    (answer,) = bench.scores(in_place_editor(keeps="attachments")(edit))
    assert f"changed 'forward' of the class {kind.__name__}, which all models share" in (answer.error or "")
    assert kind.forward is plain


def test_a_chain_that_branches_is_made_again_from_its_start() -> None:
    kept: list[str] = []
    seen: list[tuple[str, ...]] = []

    @in_place_editor(reset=kept.clear)
    def edit(model: Any, _tokenizer: Any, requests: Any) -> Any:
        kept.append(requests[0]["target_new"])
        seen.append(tuple(kept))
        with torch.no_grad():
            matrix(model).mul_(1.1)
        return model

    plain = program()
    third = (EditRequest("{} speaks", "Danielle Darrieux", "Greek", relation="P103"),)
    states = (State("1", (0,)), State("12", (0, 1)), State("13", (0, 2)), State("2", (1,)))
    probes = tuple(Probe("fact", state.name, PROMPTS, "Rome") for state in states)
    (answer,) = Bench().scores(edit, Program("branches", (*plain.steps, third), states, probes))
    assert answer.error is None
    assert set(seen) == {("Rome",), ("Rome", "Russian"), ("Rome", "Greek"), ("Russian",)}


def test_flags_and_settings_are_restored_with_a_note() -> None:
    def edit(model: Any, tokenizer: Any, _requests: Any) -> None:
        with torch.no_grad():
            matrix(model).mul_(1.1)
        model.train()
        model.requires_grad_(False)
        model.config.use_cache = False
        tokenizer.padding_side = "left"

    bench = Bench()
    cached, side = bench.model.config.use_cache, bench.tokenizer.padding_side
    (answer,) = bench.scores(edit)
    assert answer.error is None
    notes = "\n".join(answer.notes)
    for words in (
        "edit 1: left the model in training mode",
        "requires_grad off",
        "config.use_cache",
        "padding_side",
    ):
        assert words in notes
    assert bench.model.config.use_cache == cached
    assert bench.tokenizer.padding_side == side
    bench.check_restored()


def add_token(_model: Any, tokenizer: Any) -> Any:
    tokenizer.add_tokens(["<fact>"])


def resize(model: Any, _tokenizer: Any) -> Any:
    model.resize_token_embeddings(model.config.vocab_size + 1)


def nan(model: Any, _tokenizer: Any) -> Any:
    with torch.no_grad():
        matrix(model)[0, 0] = float("nan")


def other_class(model: Any, _tokenizer: Any) -> Any:
    return nn.Sequential(model)


def half(model: Any, _tokenizer: Any) -> Any:
    return model.half()


def raises(_model: Any, _tokenizer: Any) -> Any:
    raise KeyError("subject")


def leaves(_model: Any, _tokenizer: Any) -> Any:
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (add_token, "changed the tokenizer (vocabulary size 600 to 601, added tokens)"),
        (resize, "changed the shape of 'lm_head.weight' from (600, 32) to (601, 32)"),
        (nan, "is not finite"),
        (other_class, "returned a Sequential, not a LlamaForCausalLM"),
        (half, "changed the dtype of "),
        (raises, "KeyError: 'subject' (line "),
        (leaves, "SystemExit: 3"),
        (lambda *_: "done", "returned a str, not a model"),
        (lambda *_: None, "returned nothing and changed no weight"),
    ],
)
def test_one_broken_case_is_an_error_with_editor_and_step(harm: Any, words: str) -> None:
    def edit(model: Any, tokenizer: Any, requests: Any) -> Any:
        if requests[0]["case_id"] == "bad" and requests[0]["subject"] != "France":
            return harm(model, tokenizer)
        return by_gradient(model, tokenizer, requests)

    bench = Bench()
    vocabulary = len(bench.tokenizer)
    answers = bench.scores(edit, program("good"), program("bad"), program("fine"))
    assert [answer.error is None for answer in answers] == [True, False, True]
    error = answers[1].error or ""
    assert error.startswith("editor 'mine', edit 2: ")
    assert words in error
    assert answers[0].probes == answers[2].probes != ()
    assert len(bench.tokenizer) == vocabulary
    assert bench.model.config.vocab_size == vocabulary
    bench.check_restored()


def test_an_editor_that_changes_nothing_and_says_so_is_noted() -> None:
    (answer,) = Bench().scores(lambda model, _tokenizer, _requests: model)
    assert answer.error is None
    assert "edit 1: changed nothing" in answer.notes
    assert answer.changed_nothing


def test_interrupt_restores_the_model() -> None:
    def edit(model: Any, _tokenizer: Any, _requests: Any) -> None:
        with torch.no_grad():
            matrix(model).mul_(2)
        left(model, "hook")
        raise KeyboardInterrupt

    bench = Bench()
    with pytest.raises(KeyboardInterrupt):
        bench.scores(edit)
    bench.check_restored()


def test_a_write_past_torch_is_found_by_checksum() -> None:
    import ctypes

    def edit(model: Any, _tokenizer: Any, _requests: Any) -> Any:
        address = torch._C._data_address(matrix(model))
        ctypes.memset(address, 7, 16)
        return model

    with pytest.raises(UsageError, match=r"'model\.layers\.2\..*' could not be put back bit for bit"):
        Bench().scores(edit)


def test_weights_that_torch_cannot_share_are_copied_once() -> None:
    import numpy

    bench = Bench()
    parameter = matrix(bench.model)
    parameter.data = torch.from_numpy(numpy.array(parameter.detach().numpy()))  # memory of numpy
    with pytest.raises(RuntimeError):
        torch._lazy_clone(parameter.data)
    assert same_bits(copy_on_write(parameter.data), parameter.data)

    def edit(model: Any, _tokenizer: Any, _requests: Any) -> None:
        with torch.no_grad():
            matrix(model).mul_(2)

    (answer,) = bench.scores(edit)
    assert answer.error is None
    bench.check_restored()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_checksums_see_every_bit_and_place(dtype: torch.dtype) -> None:
    tensor = (torch.arange(30011) % 13).to(dtype)
    (own,) = checksums([tensor])
    for place in (0, 9000, 30010):
        other = tensor.clone()
        other[place] = 1 - other[place].to(torch.int64) if dtype == torch.bool else other[place] + 1
        if dtype == torch.bool:
            other[place] = ~tensor[place]
        assert checksums([other]) != [own]
        assert not same_bits(tensor, other)
    assert checksums([tensor[1:]]) == checksums([tensor[1:].clone()])
    moved = torch.cat([tensor[9000:], tensor[:9000]])
    assert checksums([moved]) != [own]
    assert checksums([]) == []


def test_copy_on_write_is_what_snapshots_are_made_of() -> None:
    bench = Bench()
    pristine = Pristine(bench.model)
    with pristine.lent(ModelDifference()):
        with torch.no_grad():
            matrix(bench.model).mul_(2)
        written = [
            name
            for name, tensor in pristine.structure.tensors.items()
            if torch._C._data_address(tensor) != torch._C._data_address(pristine.snapshot[name])
        ]
    assert len(written) == 1  # everything else shares its memory


class Typed(Hyperparameters):
    rank: int = 1
    """the rank"""


class Batched:
    """A batched editor as its author writes it."""

    name = "whatever"
    hyperparameters = Typed
    breaks: Callable[[EditJob, Any], Any] = staticmethod(lambda _job, delta: delta)  # type: ignore[assignment]

    def __init__(self, hyperparameters: Typed, resources: EditorResources) -> None:
        self.host = resources.host
        self.rank = hyperparameters.rank

    def prepare(self, progress: Any = None) -> None:
        pass

    def edit(self, jobs: Any, progress: Any = None) -> Any:
        results = []
        for job in jobs:
            d_o, d_k = self.host.matrix_shape(2)
            u, v = torch.ones(d_o, self.rank).double(), torch.ones(d_k, self.rank).double() / d_k
            delta = LowRankDelta(self.host.down_projection_path(2), u, v)
            if job.case_id == "bad" and job.step == 2:
                results.append(type(self).breaks(job, delta))
            else:
                results.append(EditResult((*job.model, delta)))
        return results


def broken(result: Callable[[LowRankDelta], Any]) -> type:
    return type("Broken", (Batched,), {"breaks": staticmethod(lambda _job, delta: result(delta))})


def boom(_delta: Any) -> Any:
    raise ValueError("boom")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (lambda d: EditResult((LowRankDelta(d.module, d.v, d.u),)), "has the shape"),
        (lambda d: EditResult((DenseDelta(d.module, torch.ones(2, 2)),)), "the DenseDelta's weight for"),
        (lambda d: EditResult((LowRankDelta("model.layer.2", d.u, d.v),)), "no module 'model.layer.2'"),
        (lambda d: EditResult((LowRankDelta(d.module, d.u * math.nan, d.v),)), "not finite"),
        (lambda d: EditResult([d]), "is a list, not a tuple"),  # type: ignore[arg-type]
        (lambda d: EditResult((d.u,)), "a Tensor is no change"),
        (lambda _d: None, "gave a NoneType, not an EditResult"),
        (boom, "ValueError: boom"),
    ],
)
def test_a_broken_batched_editor_is_its_case_s_error(result: Any, words: str) -> None:
    bench = Bench()
    answers = bench.scores(broken(result), program("good"), program("bad"))
    assert answers[0].error is None
    error = answers[1].error or ""
    assert error.startswith("editor 'mine', edit 2: ")
    assert words in error
    bench.check_restored()


def test_a_batched_class_gets_its_hyperparameters() -> None:
    bench = Bench()
    assert bench.editor(Batched, rank="3")._editor.rank == 3
    assert bench.editor(Batched).name == "mine"
    with pytest.raises(UsageError, match="did you mean 'rank'"):
        bench.editor(Batched, rnak="3")
    short = type("Short", (Batched,), {"edit": lambda self, jobs, progress=None: []})
    assert "its edit() gave 0 results for 1 job(s)" in errors(bench.scores(short))


def test_keywords_become_hyperparameters() -> None:
    def edit(  # type: ignore[no-untyped-def]
        model,
        tok,
        requests,
        layers: list[int],
        *,
        lr=0.1,
        steps=3,
        copy: bool = False,
        tag: str | None = None,
    ) -> Any:
        pass

    bench = Bench()
    editor = bench.editor(edit, layers="[1]", steps="5", copy="true", lr="1")
    given = editor.describe()["hyperparameters"]
    assert given == {"layers": [1], "lr": 1.0, "steps": 5, "copy": True, "tag": None}
    for key, value, words in (
        ("layer", "[1]", "did you mean 'layers'"),
        ("layers", "[99]", "the model has the layers 0 to"),
        ("lr", "much", "bad value 'much'"),
    ):
        with pytest.raises(UsageError, match=words):
            bench.editor(edit, **{"layers": "[1]", key: value})
    with pytest.raises(UsageError, match="'layers' is needed"):
        bench.editor(edit)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda model: None, r"not \(model, tokenizer, requests"),
        (3, "a int is no editor"),
        (type("Empty", (), {}), "no method prepare and no method edit"),
        (SimpleNamespace(prepare=print, edit=print), "an editor, not its class"),
        (type("Bad", (Batched,), {"hyperparameters": dict}), "not a subclass of Hyperparameters"),
        (lambda model, tok, requests, source=1: None, "cannot be called 'source'"),
    ],
)
def test_what_is_no_editor_is_refused(value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        declaration_of("mine", value, where="--editor=a:b")
    assert caught.value.where == "--editor=a:b"
    assert caught.value.fix
