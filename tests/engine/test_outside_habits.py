"""Habits of editors that others wrote: targets, hparams objects, wrappers, what they leave on the model."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from pytest_editpitfalls.engine.editing.interface import EditJob
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.in_place.declare import declaration_of, in_place_editor
from pytest_editpitfalls.engine.in_place.wrappers import check_transparent
from pytest_editpitfalls.errors import UsageError
from tests.engine.test_in_place import Bench, matrix, program


@dataclass
class HParams:
    """As kmeng01 and EasyEdit write them."""

    layers: list[int]
    lr: float
    device: int
    norm_constraint: float = 1.0
    names: list[str] = field(default_factory=list)

    @classmethod
    def from_hparams(cls, path: str) -> HParams:
        assert path.endswith(".yaml"), "yaml only"
        return cls(**yaml.safe_load(Path(path).read_text()))

    @classmethod
    def from_json(cls, path: str) -> HParams:
        return cls(**json.loads(Path(path).read_text()))


def double(model: Any) -> None:
    with torch.no_grad():
        matrix(model).mul_(2)


def with_strings(model: Any, tokenizer: Any, requests: Any) -> None:
    assert " " + requests[0]["target_new"]
    double(model)


def with_dictionaries(model: Any, tokenizer: Any, requests: Any) -> None:
    double(model)  # an attempt that fails leaves nothing behind
    if requests[0]["target_new"]["str"][0] != " ":
        requests[0]["target_new"]["str"] = " " + requests[0]["target_new"]["str"]


def with_get(model: Any, tokenizer: Any, requests: Any) -> None:
    assert requests[0]["target_new"].get("str")
    double(model)


def test_targets_are_tried_in_turn() -> None:
    probabilities = []
    for edit in (with_strings, with_dictionaries, with_get):
        bench = Bench()
        (answer,) = bench.scores(edit)
        assert answer.error is None
        assert not answer.notes
        probabilities.append([probe.probabilities for probe in answer.probes])
        bench.check_restored()
    assert probabilities[0] == probabilities[1] == probabilities[2]


def test_a_first_try_that_fails_is_forgotten() -> None:
    seen: list[Any] = []

    def keeping(model: Any, tokenizer: Any, requests: Any) -> None:
        seen.append(requests[0]["subject"])
        assert requests[0]["target_new"]["str"]
        with torch.no_grad():
            matrix(model).mul_(1 + len(seen))

    def bound(model: Any, tokenizer: Any, requests: Any) -> None:
        keeping(model, tokenizer, requests)

    (tried,) = Bench().scores(in_place_editor(reset=seen.clear)(keeping))
    (declared,) = Bench().scores(in_place_editor(reset=seen.clear, targets="str")(bound))
    assert tried.error is declared.error is None
    assert [probe.probabilities for probe in tried.probes] == [probe.probabilities for probe in declared.probes]


def test_a_later_step_is_not_tried_twice() -> None:
    seen: list[Any] = []

    def keeping(model: Any, tokenizer: Any, requests: Any) -> None:
        seen.append(requests[0]["target_new"])
        if requests[0]["subject"] != "France":
            requests[0]["target_new"]["str"]
        double(model)

    bench = Bench()
    editor = bench.editor(in_place_editor(reset=seen.clear)(keeping))
    editor.reset()
    whole = program()
    (first,) = editor.edit([EditJob("P1", 1, whole.steps[0])])
    editor._targets = ("plain", "str")  # nothing is known yet of what it takes
    (second,) = editor.edit([EditJob("P1", 2, whole.steps[1], first.model)])
    assert "string indices must be integers" in (second.error or "")
    assert "fix: declare @in_place_editor(targets='plain') or targets='str'" in (second.error or "")


def test_a_declared_form_is_not_tried_otherwise() -> None:
    (answer,) = Bench().scores(in_place_editor(targets="plain")(with_dictionaries))
    assert "string indices must be integers" in (answer.error or "")


def test_what_fails_with_both_forms_is_reported_once_and_rightly() -> None:
    def wrong(model: Any, tokenizer: Any, requests: Any) -> None:
        requests[0]["target_new"]["str"]
        raise ValueError("no such layer")

    def broken(model: Any, tokenizer: Any, requests: Any) -> None:
        _ = "a str" + 5  # type: ignore[operator]

    (answer,) = Bench().scores(wrong)
    assert "ValueError: no such layer" in (answer.error or "")
    (answer,) = Bench().scores(broken)
    assert "can only concatenate str" in (answer.error or "")


def own(model: Any, tok: Any, requests: Any, hparams: HParams, scale: float = 2.0) -> None:
    assert isinstance(hparams, HParams)
    assert hparams.device == "cpu"  # type: ignore[comparison-overlap]
    hparams.layers.append(7)  # each call gets its own
    assert len(hparams.layers) == 2
    double(model)


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_path_becomes_the_object(tmp_path: Path) -> None:
    paths = [
        write(tmp_path, "a.yaml", "layers: [1]\nlr: 0.5\ndevice: 0\n"),
        write(tmp_path, "a.json", '{"layers": [1], "lr": 0.5, "device": 0}'),
        write(tmp_path, "loose.yaml", "layers: [1]\nlr: 5e-1\nalg_name: ROME\nmodel_name: x\n"),
    ]
    for path in paths:
        bench = Bench()
        (answer,) = bench.scores(own, hparams=path)
        assert answer.error is None
        loose = "loose" in path
        assert list(answer.notes) == [
            f"edit {n}: HParams has no alg_name, model_name: not used" for n in (1, 2) if loose
        ]
        given = bench.editor(own, hparams=path).describe()["hyperparameters"]
        assert given == {
            "hparams": {"layers": [1], "lr": 0.5, "norm_constraint": 1.0, "names": []},
            "scale": 2.0,
        }


@dataclass
class Nullable:
    layers: list[int]
    corpus: str | None
    lr: float = 0.5
    anything: Any = 1


def test_null_is_a_value_where_the_field_takes_it(tmp_path: Path) -> None:
    def edit(model: Any, tok: Any, requests: Any, hparams: Nullable) -> None: ...

    text = '{"layers": [1], "corpus": null, "lr": null, "anything": null}'
    given = Bench().editor(edit, hparams=write(tmp_path, "a.json", text)).describe()["hyperparameters"]
    assert given == {"hparams": {"layers": [1], "corpus": None, "lr": 0.5, "anything": None}}
    path = write(tmp_path, "b.yaml", "layers: null\ncorpus: null\nlr: 0.1\n")
    with pytest.raises(UsageError, match="Nullable needs 'layers'"):
        Bench().editor(edit, hparams=path)


@dataclass
class Numbers:
    lr: float
    rates: list[float]
    by_name: dict[str, Any]
    adjust: bool
    weight: float | None
    name: str
    either: float | str = 0.0
    loose: float = 1.0


@dataclass
class Loaded(Numbers):
    @classmethod
    def from_hparams(cls, path: str) -> Loaded:
        return cls(**yaml.safe_load(Path(path).read_text()))


def test_numbers_that_are_written_as_texts_arrive_as_numbers(tmp_path: Path) -> None:
    def edit(model: Any, tok: Any, requests: Any, hparams: Numbers) -> None: ...

    def loaded(model: Any, tok: Any, requests: Any, hparams: Loaded) -> None: ...

    table = (
        "{lr = '5e-1', rates = ['1e-3', 2], by_name = {a = 1}, adjust = 'false', weight = '2', name = '7',"
        " either = '8', loose = false}"
    )
    wanted = {"lr": 0.5, "rates": [0.001, 2], "by_name": {"a": 1}, "adjust": False, "weight": 2.0, "name": "7"}
    made = Bench().editor(edit, hparams=table).describe()["hyperparameters"]["hparams"]
    assert made == {**wanted, "either": "8", "loose": False}
    assert isinstance(made["loose"], bool)  # as published: there is nothing
    text = (
        "lr: 5e-1\nrates: [1e-3, 2]\nby_name: {a: 1e0, b: {c: 5e-1}}\nadjust: 'false'\nweight: '2'\nname: '7'\n"
        "either: '8'\nloose: false\n"
    )
    for function in (edit, loaded):
        made = Bench().editor(function, hparams=write(tmp_path, "a.yaml", text)).describe()["hyperparameters"]
        given = made["hparams"]
        if function is edit:  # a loader of their own makes of a table without types what it wants
            assert given.pop("by_name") == {"a": 1.0, "b": {"c": 0.5}}
        else:
            assert given.pop("by_name") == {"a": "1e0", "b": {"c": "5e-1"}}
        assert given == {**{k: v for k, v in wanted.items() if k != "by_name"}, "either": "8", "loose": False}


class Valued:
    """As EasyEdit's were before they were dataclasses."""

    def __init__(self, lr: float) -> None:
        self.lr, self.device = lr, 3

    @classmethod
    def from_hparams(cls, path: str) -> Valued:
        return cls(float(Path(path).read_text()))


def test_what_is_no_dataclass_is_described_by_its_values(tmp_path: Path) -> None:
    def edit(model: Any, tok: Any, requests: Any, hparams: Valued) -> None:
        double(model)

    edit.__annotations__["hparams"] = Valued
    described = Bench().editor(edit, hparams=write(tmp_path, "a.yaml", "0.5")).describe()
    assert described["hyperparameters"] == {"hparams": {"lr": 0.5}}  # no address: a stored result is found again


def test_a_table_becomes_the_object() -> None:
    bench = Bench()
    (answer,) = bench.scores(own, hparams="{layers = [1], lr = 0.5, norm_constraint = false}")
    assert answer.error is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layers: [1]\n", r"HParams needs 'lr'\n  fix: give it: lr"),
        ("layers: five\nlr: 0.5\nmore: 1\n", "bad value 'five' of 'layers': this has to be a list"),
        ("layers: [1]\nlr: fast\nmore: 1\n", "bad value 'fast' of 'lr'"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, "a.yaml", text)
    with pytest.raises(UsageError, match=words) as caught:
        Bench().editor(own, hparams=path)
    assert caught.value.where == f"--pitfalls-set mine.hparams ({path})"


def test_no_file_no_value_and_a_loader_that_refuses(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file nothing\.yaml"):
        Bench().editor(own, hparams="nothing.yaml")
    with pytest.raises(UsageError, match="'hparams' is needed"):
        Bench().editor(own)
    path = write(tmp_path, "a.yml", "layers: [1]\n")
    with pytest.raises(UsageError, match=r"HParams\.from_hparams does not take it: AssertionError: yaml only"):
        Bench().editor(own, hparams=path)


class Wrapper(nn.Module):
    """As EasyEdit's GRACE: a layer is replaced inside the model, and an object around the model is returned."""

    def __init__(self, model: nn.Module, extra: float = 0.0) -> None:
        super().__init__()
        self.model, self.extra = model, extra

    def forward(self, **given: Any) -> Any:
        answer = self.model(**given)
        answer.logits = answer.logits + self.extra
        return answer


class Scaled(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.factor = torch.full((), 3.0, requires_grad=True) * 1  # a tensor with a history

    def forward(self, x: Any) -> Any:
        return self.layer(x) * self.factor.to(x.dtype)


def wrapped(model: Any, tokenizer: Any, requests: Any) -> Any:
    mlp = model.model.layers[1].mlp
    mlp.down_proj = Scaled(mlp.down_proj)
    return Wrapper(model), {}


def test_a_wrapper_around_the_lent_model_counts_as_attachments() -> None:
    bench = Bench()
    (answer,) = bench.scores(wrapped)
    assert answer.error is None, answer.error
    by_state = {probe.state: probe.probabilities for probe in answer.probes}
    assert len({by_state[state] for state in ("0", "1", "12")}) == 3
    bench.check_restored()
    (answer,) = Bench().scores(lambda model, tok, requests: Wrapper(model, 1.0))
    assert "returned a Wrapper that answers otherwise than the model in it" in (answer.error or "")


class Tuples(Wrapper):
    """As transformers' models with ``return_dict=False``."""

    def forward(self, **given: Any) -> Any:
        return (super().forward(**given).logits,)


class Router(Wrapper):
    """As side memories that look at the input: it answers for itself where the text is long enough."""

    def forward(self, **given: Any) -> Any:
        answer = self.model(**given)
        answer.logits = answer.logits + (given["input_ids"][0, :5].tolist() != [1, 2, 3, 4, 5])
        return answer


@pytest.mark.parametrize("wrap", [lambda model: Tuples(model, 1.0), Router])
def test_a_wrapper_that_answers_for_itself_is_an_error(wrap: Any) -> None:
    def edit(model: Any, tok: Any, requests: Any) -> Any:
        double(model)
        return wrap(model)

    (answer,) = Bench().scores(edit)
    assert "answers otherwise than the model in it" in (answer.error or "")
    assert "fix: merge what it adds" in (answer.error or "")


class Asking(Wrapper):
    def forward(self, **given: Any) -> Any:
        return self.model(**given) if "labels" in given else given["labels"]


class Sums(Wrapper):
    def forward(self, **given: Any) -> Any:
        return {"loss": super().forward(**given).logits.sum()}


class Broken(Wrapper):
    def forward(self, **given: Any) -> Any:
        raise RuntimeError("no memory for this key")


@pytest.mark.parametrize(
    ("kind", "error", "note"),
    [
        (Asking, None, None),
        (Sums, None, "returned a Sums that answers with a dict without logits"),
        (Broken, "returned a Broken, not a LlamaForCausalLM: it cannot be called like one (RuntimeError: no mem", None),
    ],
)
def test_a_wrapper_that_cannot_be_compared(kind: Any, error: str | None, note: str | None) -> None:
    def edit(model: Any, tok: Any, requests: Any) -> Any:
        double(model)
        return kind(model)

    (answer,) = Bench().scores(edit, program_of_one())
    assert (error or "") in (answer.error or "")
    assert (answer.error is None) == (error is None)
    assert [(note or "") in each for each in answer.notes] == [True] * (note is not None)


def test_a_wrapper_s_training_modes_stay() -> None:
    bench, seen = Bench(), []

    class Training(Wrapper):
        def forward(self, **given: Any) -> Any:
            seen.append(self.training)
            return super().forward(**given)

    wrapper = Training(bench.model)
    wrapper.train()
    bench.model.eval()
    assert check_transparent(wrapper, bench.model, [(3, 4)]) is None
    assert seen == [False, False]
    assert wrapper.training
    assert not bench.model.training


def test_peft_s_wrapper_is_one() -> None:
    peft = pytest.importorskip("peft")

    def edit(model: Any, tok: Any, requests: Any) -> Any:
        config = peft.LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
        return peft.get_peft_model(model, config)

    bench = Bench()
    (answer,) = bench.scores(edit, program_of_one())
    assert answer.error is None, answer.error
    by_state = {probe.state: probe.probabilities for probe in answer.probes}
    assert by_state["0"] != by_state["1"]
    bench.check_restored()


def program_of_one() -> Any:
    whole = program()
    states = tuple(state for state in whole.states if state.name in ("0", "1"))
    probes = tuple(probe for probe in whole.probes if probe.state in ("0", "1"))
    return replace(whole, steps=whole.steps[:1], states=states, probes=probes)


def test_checkpointing_left_behind_is_put_back_with_a_note() -> None:
    def edit(model: Any, tok: Any, requests: Any) -> None:
        model.gradient_checkpointing_enable()
        model.config.use_cache = False
        double(model)
        model.gradient_checkpointing_disable()

    bench = Bench()
    (answer,) = bench.scores(edit)
    assert answer.error is None, answer.error
    assert all(note.endswith("more changed: restored") for note in answer.notes)
    assert answer.notes
    assert bench.model.config.use_cache is not False
    assert not any("_gradient_checkpointing_func" in vars(module) for module in bench.model.modules())
    bench.check_restored()


def test_a_model_with_a_tensor_that_has_a_history_can_be_copied() -> None:
    def edit(model: Any, tok: Any, requests: Any) -> Any:
        model.kept = torch.ones(2, requires_grad=True) * 2
        copied = copy.deepcopy(model)
        del model.kept, copied.kept
        double(copied)
        return copied

    bench = Bench()
    (answer,) = bench.scores(edit)
    assert answer.error is None, answer.error
    bench.check_restored()


def test_a_relative_path_in_a_table_starts_at_its_file(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "layers: [1]\nlr: 0.5\ndevice: 0\n")
    declaration = declaration_of("mine", own, where="a test")
    values: Any = resolve_hyperparameters(
        "mine",
        declaration.hyperparameter_class(),
        "tiny",
        4,
        {"hparams": "a.yaml"},
        config_path=tmp_path / "c.toml",
    )
    assert values.hparams == tmp_path / "a.yaml"


def test_a_file_named_in_the_object_counts_by_its_content(tmp_path: Path) -> None:
    def edit(model: Any, tok: Any, requests: Any, hparams: Any) -> None:
        double(model)

    edit.__annotations__["hparams"] = HParams
    network = tmp_path / "net.pt"
    network.write_bytes(b"first")
    mine = in_place_editor(folder=tmp_path)(edit)
    table = "{layers = [1], lr = 0.5, names = ['net.pt', 'no file']}"
    first = Bench().editor(mine, hparams=table).describe()
    assert list(first["files"]) == ["net.pt"]
    network.write_bytes(b"other")
    assert Bench().editor(mine, hparams=table).describe()["files"] != first["files"]
