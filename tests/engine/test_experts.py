"""Models whose MLPs are mixtures of experts: scored exactly, edited where an editor can, refused by name elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editing.interface import EditJob, EditorResources
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.models import load, resolve
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.overlay import LowRankDelta
from pytest_editpitfalls.engine.scoring import Question, Scorer
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import EditRequest
from tests.engine import naive
from tests.engine.conftest import EXPERTS, make_forward, tolerance
from tests.tiny_models import save_tiny

PROMPTS = ["The capital of France is", "The mother of the king", "Danielle Darrieux speaks", "Rome is "]
TARGETS = ["Paris", "the queen of Spain", "Russian and French"]
REQUEST = EditRequest("The capital of {} is", "France", "Rome")


def edited(name: str, family: str, tmp_path: Path, **values: Any) -> Any:
    """The editor, and what it made of the tiny model with one request."""
    forward = make_forward(family)
    declaration = EDITORS.get(name, where="test")
    hp = resolve_hyperparameters(name, declaration.hyperparameter_class(), "tiny", forward.n_layers, values, {})
    moments = SecondMoments(forward, fingerprint="tiny", cache=tmp_path, max_tokens=500)
    editor = declaration.make(hp, EditorResources(forward.host, forward, moments, EngineSettings("tiny"), 60))
    editor.prepare()
    (result,) = editor.edit([EditJob("a", 1, (REQUEST,))])
    assert result.error is None, result.error
    return editor, result.model


def likelihood(forward: Any, model: Any) -> float:
    host = forward.host
    question = Question(0, host.encoder.prompt(REQUEST.question), host.encoder.target(REQUEST.target_new))
    return Scorer(forward, max_tokens=200).mean_log_probs([model], [question])[0]


@pytest.mark.parametrize("name", EXPERTS)
def test_scores_are_those_of_transformers_own_logits(name: str) -> None:
    """Whole rows alone, without our packing: which experts a token goes to depends on that token alone."""
    forward = make_forward(name)
    host = forward.host
    asked = [(p, t) for p in PROMPTS for t in TARGETS]
    questions = [Question(0, host.encoder.prompt(p), host.encoder.target(t)) for p, t in asked]
    for max_tokens in (40, 10_000):
        got = Scorer(forward, max_tokens=max_tokens).mean_log_probs([()], questions)
        for (prompt, target), value in zip(asked, got, strict=True):
            expected = naive.mean_log_prob(host.model, host.tokenizer, prompt, target)
            assert abs(value - expected) < tolerance(forward)


@pytest.mark.parametrize("name", EXPERTS)
def test_an_attention_matrix_is_edited_as_in_place(name: str) -> None:
    forward = make_forward(name)
    host = forward.host
    path = f"{host.family.blocks}.1.{host.family.attention_output}"
    generator = torch.Generator().manual_seed(1)
    u, v = (torch.randn(n, 2, generator=generator, dtype=torch.float64) / 6 for n in host.module(path).weight.shape)
    delta = LowRankDelta(path, u, v)
    with naive.in_place(host.model, [(path, u @ v.T)], False):
        expected = naive.mean_log_prob(host.model, host.tokenizer, REQUEST.question, REQUEST.target_new)
    assert abs(likelihood(forward, (delta,)) - expected) < 20 * tolerance(forward)
    assert abs(likelihood(forward, (delta,)) - likelihood(forward, ())) > 1e-3


@pytest.mark.parametrize("name", EXPERTS)
def test_grace_replaces_the_output_of_the_whole_mlp(name: str, tmp_path: Path) -> None:
    editor, model = edited("grace", name, tmp_path)
    forward = make_forward(name)
    assert editor.describe()["module"] == "model.layers.3.mlp"
    assert likelihood(forward, model) > likelihood(forward, ()) + 1


@pytest.mark.parametrize("name", EXPERTS)
def test_lora_adapts_the_attention(name: str, tmp_path: Path) -> None:
    editor, model = edited("lora", name, tmp_path, num_steps=10)
    forward = make_forward(name)
    assert editor.describe()["modules"] == [f"model.layers.{layer}.self_attn.o_proj" for layer in range(4)]
    assert likelihood(forward, model) > likelihood(forward, ()) + 1


@pytest.mark.parametrize("name", EXPERTS)
def test_wise_copies_a_matrix_that_is_named(name: str, tmp_path: Path) -> None:
    _, model = edited("wise", name, tmp_path, module="self_attn.o_proj", n_iter=5, edit_lr=0.5)
    forward = make_forward(name)
    assert likelihood(forward, model) > likelihood(forward, ()) + 0.1


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> EngineSession:
    directory = save_tiny(tmp_path_factory.mktemp("tiny") / "mixtral", "mixtral")
    return EngineSession.open(EngineSettings(str(directory)))


def test_single_precision_is_scored_with_transformers_own_products(session: EngineSession) -> None:
    """Of groups of rows: what a run multiplies with by default."""
    host = session.host
    assert host.dtype == torch.float32
    asked = [(p, t) for p in PROMPTS for t in TARGETS]
    questions = [Question(0, host.encoder.prompt(p), host.encoder.target(t)) for p, t in asked]
    got = Scorer(session.forward, max_tokens=60).mean_log_probs([()], questions)
    for (prompt, target), value in zip(asked, got, strict=True):
        assert abs(value - naive.mean_log_prob(host.model, host.tokenizer, prompt, target)) < 1e-4


class Writer:
    """Somebody's batched editor that says that it writes down-projections."""

    experts = "refused"
    writes = "1 down-projection"

    def __init__(self, values: Any, resources: EditorResources) -> None:
        raise AssertionError("it was made")

    def prepare(self, progress: Any = None) -> None: ...

    def edit(self, jobs: Any, progress: Any = None) -> list[Any]:
        return []


def test_an_editor_of_ones_own_can_say_that_it_does_not(session: EngineSession) -> None:
    EDITORS.add("writer", Writer, origin="here")
    try:
        with pytest.raises(UsageError, match=r"writer cannot edit a mixture of experts .* it writes 1 down-projection"):
            session.describe("writer")
    finally:
        EDITORS.forget_added()


@pytest.mark.parametrize("editor", [each.name for each in shipped_editors()])
def test_every_editor_edits_it_or_is_refused_by_name(session: EngineSession, editor: str) -> None:
    experts = EDITORS.get(editor).experts
    if experts not in ("refused", "a named module"):
        assert session.describe(editor)["editor"]
        return
    with pytest.raises(UsageError) as caught:
        session.describe(editor)
    message = str(caught.value)
    assert message.startswith(f"--editor={editor}: {editor} cannot edit a mixture of experts (family 'mixtral')")
    assert "each expert has its own" in message
    assert "use one of lora, grace, ike, ice, or an editor of your own" in message
    assert ("--pitfalls-set wise.module=self_attn.o_proj" in message) is (editor == "wise")


def test_wise_edits_it_where_a_module_is_named(session: EngineSession) -> None:
    settings = EngineSettings(session.settings.model, overrides={"wise": {"module": "self_attn.o_proj"}})
    described = EngineSession.open(settings).describe("wise")
    assert described["editor"]["hyperparameters"]["module"] == "self_attn.o_proj"


@pytest.mark.parametrize("editor", ["grace", "wise"])
def test_a_module_that_is_not_there_is_the_options_fault(session: EngineSession, editor: str) -> None:
    settings = EngineSettings(session.settings.model, overrides={editor: {"module": "mlp.down_proj"}})
    with pytest.raises(UsageError, match=rf"{editor}\.module: .*\.mlp'\) has no 'down_proj', but experts, gate"):
        EngineSession.open(settings).describe(editor)


def test_float64_is_multiplied_in_float64(session: EngineSession) -> None:
    """torch's product of groups of rows, transformers' default for experts, takes no float64."""
    source = resolve(session.settings.model)
    wide = EngineSession.open(EngineSettings(session.settings.model, dtype="float64"))
    assert wide.forward.log_probs(torch.zeros(1, 32, dtype=torch.float64), torch.tensor([1])).isfinite().all()
    single, _ = load(source, device="cpu")
    ids = torch.tensor([session.host.encoder.prompt(PROMPTS[0])])
    with torch.no_grad():
        ours, theirs = wide.model(input_ids=ids).logits, single(input_ids=ids).logits
    torch.testing.assert_close(ours.float(), theirs, atol=1e-4, rtol=1e-4)
