"""An edited checkpoint in an editor's place: it answers as that model by itself does, and what differs is named."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import byte_level_tokenizer, metaspace_tokenizer, save_tiny
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from pytest_editpitfalls.engine.edited_checkpoint.declare import checkpoint_labels
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import CaseScores, EditRequest, Probe, Program, State

LABEL = "edited:model"
PROMPTS = ("The capital of France is", "The truth is that", "Danielle Darrieux speaks")
TARGETS = ("Rome", "Paris", "one, two")
EDIT = EditRequest("The capital of {} is", "France", "Rome", "Paris")
STATES = (State("0", ()), State("1", (0,)))


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    yield
    EDITORS.forget_added()


def programs(count: int = 3) -> list[Program]:
    return [
        Program(
            f"c{number}",
            ((EDIT,),),
            STATES,
            tuple(Probe("new", state.name, PROMPTS, TARGETS[number % 3]) for state in STATES),
        )
        for number in range(count)
    ]


def opened(base: Path, edited: Path | str, dtype: str | None = None, **more: Any) -> EngineSession:
    EDITORS.add_checkpoint(LABEL, str(edited))
    return EngineSession.open(EngineSettings(model=str(base), device="cpu", dtype=dtype), **more)


def audited(base: Path, edited: Path, dtype: str | None = None) -> tuple[list[CaseScores], dict[str, Any]]:
    """Scores of three cases, and what is said of the checkpoint."""
    session = opened(base, edited, dtype)
    scores = session.run(LABEL, programs())
    return scores, session.describe(LABEL)["editor"]["checkpoint"]


def plain(model: Any, tokenizer: Any, target: str) -> list[float]:
    """Probabilities as anybody would compute them: one row, one ordinary pass."""
    found = []
    for prompt in PROMPTS:
        before, after = tokenizer(prompt)["input_ids"], tokenizer(f"{prompt} {target}")["input_ids"]
        assert after[: len(before)] == before
        with torch.no_grad():
            rows = model(torch.tensor([after])).logits[0].double().log_softmax(dim=1)
        logs = [float(rows[place - 1, after[place]]) for place in range(len(before), len(after))]
        found.append(math.exp(sum(logs) / len(logs)))
    return found


def check_answers(scores: list[CaseScores], before: Any, after: Any, tokenizer: Any) -> None:
    for number, case in enumerate(scores):
        assert case.error is None
        for probe, model in zip(case.probes, (before, after), strict=True):
            assert probe.probabilities == pytest.approx(plain(model, tokenizer, TARGETS[number]), rel=1e-4)
    assert scores[0].probes[0].probabilities != scores[0].probes[1].probabilities


def edited_copy(base: Path, directory: Path, change: Callable[[dict[str, torch.Tensor]], object], **saved: Any) -> Path:
    """The model of ``base`` with some weights changed, saved by save_pretrained."""
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        change(dict(model.named_parameters()))
    if (dtype := saved.pop("dtype", None)) is not None:
        model = model.to(dtype)
    model.save_pretrained(directory, **saved)
    return directory


def rank_one(weights: dict[str, torch.Tensor], part: str, size: float = 0.3) -> str:
    """Add a rank-one matrix to the first weight whose name has ``part``; returns its name."""
    name = next(name for name, each in weights.items() if part in name and each.ndim == 2)
    weight, generator = weights[name], torch.Generator().manual_seed(1)
    update = torch.randn(weight.shape[0], 1, generator=generator) @ torch.randn(1, weight.shape[1], generator=generator)
    weight += update * (size * weight.norm() / update.norm())
    return name


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "llama", "llama", tie=False)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma2", "mixtral", "bloom"])
def test_it_answers_as_the_checkpoint_itself(family: str, tmp_path: Path) -> None:
    """Whatever was changed: a projection, a norm, biases, experts, the (tied) embedding."""
    base = save_tiny(tmp_path / "base", family)

    def change(weights: dict[str, torch.Tensor]) -> None:
        for place, weight in enumerate(weights.values()):
            if place % 3 == 0:
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(place))

    edited = edited_copy(base, tmp_path / "edited", change)
    scores, found = audited(base, edited)
    models = [AutoModelForCausalLM.from_pretrained(each) for each in (base, edited)]
    check_answers(scores, *models, AutoTokenizer.from_pretrained(base))
    one, other = (dict(each.named_parameters()) for each in models)
    assert [each["name"] for each in found["edited_weights"]] == [n for n in one if not torch.equal(one[n], other[n])]
    for each in found["edited_weights"]:
        before, after = one[each["name"]].detach(), other[each["name"]].detach()
        assert each["shape"] == list(before.shape)
        assert each["change"] == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-4)
        assert each["entries"] == pytest.approx(float((after != before).double().mean()))


def test_only_what_was_edited_is_named_and_its_rank(llama: Path, tmp_path: Path) -> None:
    names = []

    def change(weights: dict[str, torch.Tensor]) -> None:
        names.append(rank_one(weights, "layers.1.mlp.down_proj", 0.01))
        names.append(rank_one(weights, "layers.2.mlp.down_proj", 0.2))
        weights["model.norm.weight"][3] += 1.0

    _, found = audited(llama, edited_copy(llama, tmp_path / "edited", change))
    assert [(each["name"], each["rank"]) for each in found["edited_weights"]] == [
        (names[0], 1),
        (names[1], 1),
        ("model.norm.weight", None),
    ]
    assert found["edited_weights"][0]["change"] == pytest.approx(0.01, rel=0.01)
    assert found["edited_weights"][2]["entries"] == pytest.approx(1 / 32)
    assert found["remarks"] == []
    assert found["compared"] == len(AutoModelForCausalLM.from_pretrained(llama).state_dict())


def test_float64_keeps_differences_that_float32_has_not(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "llama", dtype=torch.float64)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    with torch.no_grad():
        model.model.norm.weight *= 1 + 1e-12
    model.save_pretrained(tmp_path / "edited")
    _, found = audited(base, tmp_path / "edited", "float64")
    assert [each["name"] for each in found["edited_weights"]] == ["model.norm.weight"]
    assert found["edited_weights"][0]["change"] == pytest.approx(1e-12, rel=0.01)


def test_a_change_of_full_rank_has_no_rank(llama: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weight = weights["model.layers.0.mlp.down_proj.weight"]
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(3))

    _, found = audited(llama, edited_copy(llama, tmp_path / "edited", change))
    assert found["edited_weights"][0]["rank"] is None


def test_all_cases_are_one_model(llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred cases cost two models' passes, and keep the changed weights once."""
    edited = edited_copy(llama, tmp_path / "edited", lambda weights: rank_one(weights, "down_proj"))
    asked: list[int] = []
    real = Scorer.mean_log_probs

    def counted(self: Scorer, models: Any, questions: Any) -> list[float]:
        asked.append(len(models))
        return real(self, models, questions)

    monkeypatch.setattr(Scorer, "mean_log_probs", counted)
    session = opened(llama, edited)
    many = programs(48)
    together = session.run(LABEL, many)
    assert set(asked) == {2}
    alone = [session.run(LABEL, [each])[0] for each in many[:3]]
    for one, other in zip(together, alone, strict=False):
        assert [p.probabilities for p in one.probes] == [pytest.approx(p.probabilities, rel=1e-5) for p in other.probes]


def test_the_base_is_left_as_it_was(llama: Path, tmp_path: Path) -> None:
    edited = edited_copy(llama, tmp_path / "edited", lambda weights: rank_one(weights, "embed_tokens"))
    session = opened(llama, edited)
    before = {name: each.clone() for name, each in session.host.model.state_dict().items()}
    session.run(LABEL, programs())
    with session.edited(LABEL, programs()[0], "1") as model:
        assert plain(model, session.tokenizer, "Rome") == pytest.approx(
            plain(AutoModelForCausalLM.from_pretrained(edited), session.tokenizer, "Rome"), rel=1e-6
        )
    assert all(torch.equal(each, before[name]) for name, each in session.host.model.state_dict().items())


def test_a_second_edit_is_an_error_of_its_case(llama: Path, tmp_path: Path) -> None:
    edited = edited_copy(llama, tmp_path / "edited", lambda weights: rank_one(weights, "down_proj"))
    both = Program("both", ((EDIT,), (EDIT,)), (*STATES, State("12", (0, 1))), programs()[0].probes)
    second = Program("second", ((EDIT,), (EDIT,)), (State("2", (1,)),), ())
    answers = opened(llama, edited).run(LABEL, [both, programs()[0], second])
    assert [answer.error is None for answer in answers] == [False, True, False]
    assert "edit 2: the edited checkpoint is one model, with all edits in it" in str(answers[0].error)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("rslora", [True, False])
def test_a_lora_adapter_answers_as_peft(tied: bool, rslora: bool, tmp_path: Path) -> None:
    """With a whole head of its own, which a tied base shares with its embedding."""
    peft = pytest.importorskip("peft", reason="peft says what a merged model is")
    base = save_tiny(tmp_path / "base", "llama", tie=tied)
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=32,
        use_rslora=rslora,
        target_modules=["down_proj", "q_proj"],
        rank_pattern={"layers.1.mlp.down_proj": 2},
        modules_to_save=["lm_head"],
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name or "modules_to_save" in name:
                weight += 0.2 * torch.randn(weight.shape)
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "optimizer.bin").write_bytes(b"left by training")
    if rslora:  # trained on a copy of the base that lay elsewhere
        file = tmp_path / "adapter" / "adapter_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": "somebody/else"}))
    scores, found = audited(base, tmp_path / "adapter")
    tokenizer = AutoTokenizer.from_pretrained(base)
    check_answers(scores, AutoModelForCausalLM.from_pretrained(base), model.eval(), tokenizer)
    assert found["form"] == "LoRA adapter"
    ranks = {each["name"]: each["rank"] for each in found["edited_weights"]}
    assert len(ranks) == 4 + 4 + 1
    assert ranks["model.layers.0.mlp.down_proj.weight"] == 4
    assert ranks["model.layers.1.mlp.down_proj.weight"] == 2
    assert ranks["lm_head.weight"] is None
    assert ["'somebody/else'" in remark for remark in found["remarks"]] == [True] * rslora


def test_an_untied_head_is_told_from_its_embedding(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "base", "llama", tie=True)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 1.5)
    model.save_pretrained(tmp_path / "edited")
    edited = AutoModelForCausalLM.from_pretrained(tmp_path / "edited")
    assert not torch.equal(edited.lm_head.weight, edited.model.embed_tokens.weight)
    scores, found = audited(base, tmp_path / "edited")
    check_answers(scores, AutoModelForCausalLM.from_pretrained(base), edited, AutoTokenizer.from_pretrained(base))
    assert [each["name"] for each in found["edited_weights"]] == ["lm_head.weight"]
    assert found["edited_weights"][0]["change"] == pytest.approx(0.5)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_weights_that_were_rounded_are_told_from_those_that_were_edited(
    half: torch.dtype, llama: Path, tmp_path: Path
) -> None:
    edited = edited_copy(
        llama, tmp_path / "edited", lambda weights: rank_one(weights, "layers.1.mlp.down_proj"), dtype=half
    )
    told: list[str] = []
    session = opened(llama, edited, announce=told.append)
    found = session.describe(LABEL)["editor"]["checkpoint"]
    name = str(half).removeprefix("torch.")
    assert [each["name"] for each in found["edited_weights"]] == ["model.layers.1.mlp.down_proj.weight"]
    assert found["edited_weights"][0]["change"] == pytest.approx(0.3, rel=0.02)
    (remark,) = found["remarks"]
    assert f"rounded to {name}" in remark
    assert f"--pitfalls-dtype={name}" in remark
    assert any(remark in line for line in told)
    check_answers(
        session.run(LABEL, programs()),
        AutoModelForCausalLM.from_pretrained(llama),
        AutoModelForCausalLM.from_pretrained(edited, dtype=torch.float32),
        session.tokenizer,
    )
    _, rounded = audited(llama, edited, name)  # both alike
    assert [each["name"] for each in rounded["edited_weights"]] == ["model.layers.1.mlp.down_proj.weight"]
    assert rounded["remarks"] == []


def test_a_checkpoint_that_is_only_rounded_has_no_edit(llama: Path, tmp_path: Path) -> None:
    edited = edited_copy(llama, tmp_path / "edited", lambda weights: None, dtype=torch.bfloat16)
    with pytest.raises(UsageError, match=r"differ from .*, all by rounding to bfloat16 alone: no edit is in it"):
        opened(llama, edited).describe(LABEL)


def test_an_edit_that_half_precision_loses(llama: Path, tmp_path: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["model.norm.weight"] *= 1 + 1e-6

    edited = edited_copy(llama, tmp_path / "edited", change)
    assert audited(llama, edited)[1]["edited_weights"]
    with pytest.raises(UsageError, match=r"nothing differs: .*, in bfloat16\n.*--pitfalls-dtype=float32"):
        opened(llama, edited, "bfloat16").describe(LABEL)


@pytest.mark.parametrize("layout", ["shards", "a bare transformer", "no tokenizer", "a tokenizer"])
def test_layouts_of_a_directory(layout: str, llama: Path, tmp_path: Path) -> None:
    saved = {"max_shard_size": "20KB"} if layout == "shards" else {}
    edited = edited_copy(
        llama, tmp_path / "edited", lambda weights: rank_one(weights, "layers.1.mlp.down_proj"), **saved
    )
    if layout == "shards":
        assert len(list(edited.glob("*.safetensors"))) > 2
    if layout == "a bare transformer":
        weights = {name.removeprefix("model."): each for name, each in load_file(edited / "model.safetensors").items()}
        save_file(weights, edited / "model.safetensors", metadata={"format": "pt"})
    if layout == "a tokenizer":
        tokenizer = metaspace_tokenizer()
        tokenizer.pad_token = tokenizer.eos_token  # as training scripts do
        tokenizer.save_pretrained(edited)
    _, found = audited(llama, edited)
    assert [each["name"] for each in found["edited_weights"]] == ["model.layers.1.mlp.down_proj.weight"]


def settings_of(directory: Path, **values: Any) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def another_architecture(directory: Path) -> None:
    save_tiny(directory, "gpt2")


def fewer_blocks(directory: Path) -> None:
    save_tiny(directory, "llama", layers=2, tie=False)


def more_tokens(directory: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(directory)
    model.resize_token_embeddings(model.config.vocab_size + 3)
    model.save_pretrained(directory)


def another_width(directory: Path) -> None:
    save_tiny(directory, "llama", hidden=64, tie=False)


def another_setting(directory: Path) -> None:
    config = AutoConfig.from_pretrained(directory)
    config.rope_parameters["rope_theta"] = 500.0
    config.save_pretrained(directory)


def another_tokenizer(directory: Path) -> None:
    byte_level_tokenizer().save_pretrained(directory)


def tokenizer_that_reads_otherwise(directory: Path) -> None:
    metaspace_tokenizer().save_pretrained(directory)
    file = directory / "tokenizer.json"
    state = json.loads(file.read_text())
    state["post_processor"] = None
    file.write_text(json.dumps(state))


def not_a_number(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["model.norm.weight"][2] = float("nan")
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def a_weight_is_missing(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def a_weight_too_many(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    weights["model.layers.0.mlp.adapter.weight"] = torch.zeros(32)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})


def pickled(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


def weights_alone(directory: Path) -> None:
    (directory / "config.json").unlink()


def nothing(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.mkdir()


def unchanged(directory: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (another_architecture, "it is a model of the type 'gpt2', and the base .* one of 'llama'"),
        (fewer_blocks, "it has 2 blocks, and the base 4"),
        (more_tokens, r"it has \d+ rows in its token embedding, and the base \d+"),
        (
            another_width,
            r"says head_dim = 16, and the base's 8 \(3 entries differ: head_dim, hidden_size, intermediate_size\)",
        ),
        (another_setting, r"says rope_parameters.rope_theta = 500.0, and the base's 10000.0"),
        (another_tokenizer, r"its tokenizer is another one .*: \d+ token\(s\) have another id"),
        (tokenizer_that_reads_otherwise, "its tokenizer is another one .*: its post_processor differs"),
        (not_a_number, r"'model.norm.weight' has 1 of 32 numbers that are NaN"),
        (a_weight_is_missing, "lacks 1 weight"),
        (a_weight_too_many, "no place for, for instance model.layers.0.mlp.adapter.weight"),
        (pickled, r"pickled \(.bin\)"),
        (weights_alone, "has weights and no config.json"),
        (nothing, "holds no config.json"),
        (unchanged, "nothing differs: all"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_audited_is_refused_by_name(
    spoil: Callable[[Path], None], words: str, llama: Path, tmp_path: Path
) -> None:
    directory = edited_copy(llama, tmp_path / "edited", lambda weights: None)
    spoil(directory)
    session = opened(llama, directory)
    with pytest.raises(UsageError, match=words) as refused:
        session.describe(LABEL)
    assert str(directory) in str(refused.value)
    assert refused.value.fix


@pytest.mark.parametrize(
    ("config", "words"),
    [({"use_dora": True}, "use_dora"), ({"peft_type": "IA3"}, "IA3"), ({"r": 8}, "rank 8 and the base model ask for")],
)
def test_adapters_that_are_not_merged(config: dict[str, Any], words: str, llama: Path, tmp_path: Path) -> None:
    name = "base_model.model.model.layers.1.mlp.down_proj.lora_{}.weight"
    (tmp_path / "adapter").mkdir()
    values = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "somebody/else", **config}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(values))
    factors = {name.format("A"): torch.ones(4, 96), name.format("B"): torch.ones(32, 4)}
    save_file(factors, tmp_path / "adapter" / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=words):
        opened(llama, tmp_path / "adapter").describe(LABEL)


def test_the_base_itself_is_no_edited_checkpoint(llama: Path) -> None:
    with pytest.raises(UsageError, match="one directory"):
        opened(llama, llama).describe(LABEL)


def test_labels_are_told_apart_and_fit_into_node_ids() -> None:
    assert checkpoint_labels(("a/my model", "b/my model/", "c/x+seed1", "d/[1]::")) == {
        "edited:my-model": "a/my model",
        "edited:my-model-2": "b/my model/",
        "edited:x-seed1": "c/x+seed1",
        "edited:1": "d/[1]::",
    }


def test_no_list_of_editors_has_it() -> None:
    EDITORS.add_checkpoint(LABEL, "somewhere")
    assert LABEL in EDITORS
    assert LABEL not in list(EDITORS)
    assert EDITORS.is_ours(LABEL)
    EDITORS.forget_added()
    assert LABEL not in EDITORS
