"""The engine as the plugin sees it: a checkpoint directory in, scores, edited models and descriptions out."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings, Progress, chunk_size
from pytest_editpitfalls.errors import CaseError, UsageError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, EditRequest, HeldQuestion, State
from tests.engine import naive
from tests.tiny_models import save_tiny

QUICK = {
    "layers": "[1]",
    "v_num_grad_steps": "5",
    "v_lr": "0.4",
    "context_template_length_params": "[[6, 3]]",
    "mom2_tokens": "1400",
}
STATES = (State("0", ()), State("1", (0,)), State("12", (0, 1)), State("2", (1,)))


def case(number: int = 0) -> Program:
    """A reverse-like case; every number gives another one."""
    subject, other, label, rival = [
        ("France", "Japan", "Rome", "Tokyo"),
        ("Danielle Darrieux", "the king", "Russian", "French"),
        ("José", "Spain", "日本", "the queen of Spain"),
    ][number]
    steps = (
        (EditRequest("The capital of {} is", subject, label),),
        (EditRequest("{} speaks", other, rival),),
    )
    asked = (f"The capital of {subject} is", f"It is said that {subject}")
    probes = tuple(
        Probe(fact, state.name, asked, text) for state in STATES for fact, text in (("old", label), ("tied", rival))
    )
    return Program(f"P{number}", steps, STATES, probes, (HeldQuestion("edit1", asked[:1], rival, (label,)),))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of two families and a cache."""
    root = tmp_path_factory.mktemp("session")
    for family in ("gpt2", "llama"):
        save_tiny(root / f"tiny-{family}", family)
    return root


Opener = Callable[..., EngineSession]


@pytest.fixture(scope="module")
def opened(place: Path) -> Opener:
    """Opens a session; the cache lies beside the checkpoints unless told otherwise."""

    def opener(
        family: str = "llama",
        *,
        cache: Path | None = None,
        announce: Callable[[str], None] = lambda _: None,
        overrides: dict[str, str] | None = None,
        **settings: Any,
    ) -> EngineSession:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("EDITPITFALLS_CACHE", str(cache or place / "cache"))
            return EngineSession.open(
                EngineSettings(
                    model=str(place / f"tiny-{family}"),
                    **{"device": "cpu", "dtype": "float64", **settings},
                    overrides={"rome": {**QUICK, **(overrides or {})}},
                ),
                announce,
            )

    return opener


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def session(request: pytest.FixtureRequest, opened: Opener) -> EngineSession:
    return opened(request.param)


@pytest.fixture(scope="module")
def llama(opened: Opener) -> EngineSession:
    return opened("llama")


def checksum(session: EngineSession) -> str:
    digest = hashlib.sha256()
    for name, tensor in session.model.state_dict().items():
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def logits(session: EngineSession, text: str = "The capital of France is") -> torch.Tensor:
    ids = session.tokenizer(text, return_tensors="pt")["input_ids"]
    return session.model(input_ids=ids).logits  # type: ignore[no-any-return]


def close(a: Sequence[CaseScores], b: Sequence[CaseScores], tolerance: float = 1e-5) -> bool:
    for one, other in zip(a, b, strict=True):
        assert (one.error, other.error, one.skipped, other.skipped) == (None, None, None, None)
        assert (one.case_id, one.held) == (other.case_id, other.held)
        for p, q in zip(one.probes, other.probes, strict=True):
            assert (p.fact, p.state) == (q.fact, q.state)
            pairs = zip(p.probabilities, q.probabilities, strict=True)
            if not all(math.isclose(x, y, rel_tol=tolerance) for x, y in pairs):
                return False
    return True


# Opening


def test_open_says_what_it_takes_and_books_the_time(opened: Opener) -> None:
    said: list[str] = []
    session = opened("llama", announce=said.append, dtype=None)
    assert any("one second moment" in text and "tiny-llama" in text for text in said)
    assert session.seconds["load"] > 0
    assert session.host.dtype == torch.float32  # the default on a CPU
    assert not session.model.training
    assert not any(parameter.requires_grad for parameter in session.model.parameters())


def test_batch_size(opened: Opener, llama: EngineSession) -> None:
    assert llama.batch_size("rome") == 16
    assert opened("llama", batch_size=3).batch_size("rome") == 3
    for asked, on_gpu, most in ((None, False, 16), (None, True, 256), (3, False, 3), (100, True, 100)):
        assert chunk_size(asked, on_gpu) == most
    for asked in (None, 1, 3, 100):
        session = opened("llama", batch_size=asked)
        for editor in EDITORS:
            assert 1 <= session.batch_size(editor) <= chunk_size(asked, on_gpu=False)


# Running


def test_the_batch_does_not_change_results(session: EngineSession) -> None:
    programs = [case(0), case(1), case(2)]
    before = checksum(session)
    together = session.run("rome", programs)
    assert [answer.case_id for answer in together] == ["P0", "P1", "P2"]
    alone = [session.run("rome", [program])[0] for program in programs]
    assert close(together, alone)
    assert close(together[::-1], session.run("rome", programs[::-1]))
    assert checksum(session) == before
    for answer in together:
        by_state = {(p.fact, p.state): p.probabilities for p in answer.probes}
        assert len(set(by_state.values())) == len(by_state), "two states answer alike"


def test_a_base_model_probability_is_the_models_own(session: EngineSession) -> None:
    (answer,) = session.run("rome", [case(1)])
    for probe, score in zip(case(1).probes, answer.probes, strict=True):
        if probe.state == "0":
            wanted = [
                math.exp(naive.mean_log_prob(session.model, session.tokenizer, prompt, probe.target))
                for prompt in probe.prompts
            ]
            assert score.probabilities == pytest.approx(wanted, rel=1e-8)


def test_a_broken_case_leaves_the_others_alone(llama: EngineSession) -> None:
    broken = Program("broken", ((EditRequest("no slot", "France", "Rome"),),) * 2, STATES, case(0).probes)
    skipped = Program("skipped", ((EditRequest("{} is", "France", " "),),) * 2, STATES, case(0).probes)
    answers = llama.run("rome", [case(0), broken, skipped, case(1)])
    assert "edit 1" in (answers[1].error or "")
    assert "no {}" in (answers[1].error or "")
    assert "has no tokens" in (answers[2].skipped or "")
    assert close([answers[0], answers[3]], llama.run("rome", [case(0), case(1)]))


def test_the_random_state_and_the_gradient_mode_stay(llama: EngineSession) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    llama.run("rome", [case(0)])
    with llama.edited("rome", case(0), "12"):
        assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert close(llama.run("rome", [case(0)]), llama.run("rome", [case(0)]))


def test_a_second_session_reads_the_second_moment(opened: Opener, tmp_path: Path) -> None:
    def stages(session: EngineSession) -> set[str]:
        seen: list[Progress] = []
        session.run("rome", [case(0)], seen.append)
        return {progress.stage for progress in seen}

    first, second = (opened("gpt2", cache=tmp_path) for _ in range(2))
    assert {"second moment", "edit", "score"} <= stages(first)
    assert stages(second) == {"edit", "score"}
    assert close(first.run("rome", [case(0)]), second.run("rome", [case(0)]), 1e-12)
    assert first.seconds["prepare rome"] > 0


def test_precision_is_part_of_the_cache_key(opened: Opener, tmp_path: Path) -> None:
    kept = []
    for dtype in ("float64", "float32"):
        opened("gpt2", cache=tmp_path, dtype=dtype).run("rome", [case(0)])
        kept.append(len(list((tmp_path / "second-moments").iterdir())))
    assert kept[1] == 2 * kept[0]


def test_single_precision_agrees_roughly(opened: Opener) -> None:
    """The same corpus, so that only rounding differs."""
    corpus = {"mom2_tokens": "1400", "v_num_grad_steps": "2"}
    exact = opened("gpt2", overrides=corpus).run("rome", [case(0)])
    assert close(exact, opened("gpt2", overrides=corpus, dtype="float32").run("rome", [case(0)]), 0.05)


# The edited model


@pytest.mark.parametrize("state", ["1", "12", "2"])
def test_the_edited_model_is_the_one_that_was_scored(state: str, session: EngineSession) -> None:
    program, before, base = case(0), checksum(session), logits(session)
    (answer,) = session.run("rome", [program])
    with session.edited("rome", program, state) as model:
        assert model is session.model
        assert checksum(session) == before, "a weight was written"
        assert float((logits(session) - base).abs().max()) > 1e-3
        for probe, score in zip(program.probes, answer.probes, strict=True):
            if probe.state == state:
                wanted = [
                    math.exp(naive.mean_log_prob(model, session.tokenizer, prompt, probe.target))
                    for prompt in probe.prompts
                ]
                assert score.probabilities == pytest.approx(wanted, rel=1e-5)
    assert checksum(session) == before
    assert torch.equal(logits(session), base)


def test_generate_inside(session: EngineSession) -> None:
    """Greedy text of the edited model equals taking its likeliest token again and again without a cache."""
    ids = session.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    plain = session.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    with session.edited("rome", case(0), "12") as model:
        both = model.generate(ids.repeat(2, 1), attention_mask=torch.ones(2, ids.shape[1], dtype=torch.long), **options)
        wanted = ids
        for _ in range(8):
            with torch.no_grad():
                token = model(input_ids=wanted, use_cache=False).logits[:, -1].argmax(dim=1, keepdim=True)
            wanted = torch.cat([wanted, token], dim=1)
    assert both.tolist() == 2 * wanted.tolist()
    assert both[0].tolist() != plain[0].tolist()
    assert session.model.generate(ids, attention_mask=torch.ones_like(ids), **options).equal(plain)


def test_state_0_is_the_base_model(llama: EngineSession) -> None:
    base = logits(llama)
    with llama.edited("rome", case(0), "0"):
        assert torch.equal(logits(llama), base)


def test_an_exception_inside_ends_the_edit(llama: EngineSession) -> None:
    base = logits(llama)
    with pytest.raises(ZeroDivisionError), llama.edited("rome", case(0), "12"):
        1 / 0  # noqa: B018
    assert torch.equal(logits(llama), base)
    with llama.edited("rome", case(0), "12"):  # and the next one opens
        pass


def test_an_edit_that_cannot_be_computed(llama: EngineSession) -> None:
    broken = Program("broken", ((EditRequest("no slot", "France", "Rome"),),), STATES[:2], ())
    with pytest.raises(CaseError, match="edit 1") as caught, llama.edited("rome", broken, "1"):
        pass
    assert caught.value.where == "broken"


def test_an_unknown_state(llama: EngineSession) -> None:
    with pytest.raises(UsageError, match="no state '21'"), llama.edited("rome", case(0), "21"):
        pass


def test_edited_models_do_not_add_up(llama: EngineSession) -> None:
    """One model object answers: a second edit inside the first, or a batch, would see both."""
    with llama.edited("rome", case(0), "1"):
        inside = logits(llama)
        with pytest.raises(CaseError, match="still open") as caught, llama.edited("rome", case(1), "1"):
            pass
        assert (caught.value.where, "with" in (caught.value.fix or "")) == ("P0", True)
        with pytest.raises(CaseError, match="still open"):
            llama.run("rome", [case(1)])
        assert torch.equal(logits(llama), inside)
    assert llama.run("rome", [case(1)])[0].error is None


# Descriptions


def builtin(value: Any) -> bool:
    """Of builtin types only: a subclass of str does not survive the trip from an xdist worker."""
    if type(value) is dict:
        return all(type(key) is str and builtin(each) for key, each in value.items())
    if type(value) is list:
        return all(map(builtin, value))
    return value is None or type(value) in (str, int, float, bool)


def test_describe_is_plain_json_and_says_what_was_used(session: EngineSession) -> None:
    session.run("rome", [case(0)])
    described = session.describe("rome")
    assert builtin(described)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    editor, model = described["editor"], described["model"]
    assert editor["editor"] == "rome"
    assert editor["hyperparameters"]["v_num_grad_steps"] == 5
    assert editor["hyperparameters"]["layers"] == [1]
    assert "no preset" in editor["hyperparameters"]["source"]
    assert editor["context_templates"][0] == "{}"
    assert len(editor["context_templates"]) == 4
    record = editor["second_moment"]
    assert record["source"] == {
        "kind": "sampled",
        "reference": "",
        "samples": None,
        "tokens": 1400,
        "ridge": None,
        "seed": 0,
    }
    assert record["module"] == session.host.down_projection_path(1)
    assert record["tokens"] >= 1400
    assert model["fingerprint"] == session.fingerprint
    assert len(session.fingerprint) == 64
    assert (model["layers"], model["dtype"], model["device"]) == (4, "float64", "cpu")
    assert model["parameters"] == sum(parameter.numel() for parameter in session.model.parameters())
    assert described["seed"] == 0
    assert described["versions"]["torch"] == torch.__version__
    assert {"load", "prepare rome"} <= set(described["seconds"])


def test_explicit_templates_and_corpus_are_described(opened: Opener, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(f"The king of {i} is {i * i}." for i in range(200)), encoding="utf-8")
    session = opened(
        "gpt2",
        config_tables={"rome": {"context_templates": ["{}", "So be it. {}"], "mom2_corpus": "corpus.txt"}},
        config_path=tmp_path / "config.toml",
        overrides={"mom2_ridge": "0.1"},
    )
    (answer,) = session.run("rome", [case(0)])
    assert answer.error is None
    editor = session.describe("rome")["editor"]
    assert builtin(editor)
    assert editor["context_templates"] == ["{}", "So be it. {}"]
    assert editor["second_moment"]["source"]["kind"] == "text"
    assert editor["second_moment"]["source"]["reference"] == "corpus.txt"
    assert editor["second_moment"]["ridge"] == 0.1


def test_without_c_there_is_no_second_moment(opened: Opener, tmp_path: Path) -> None:
    session = opened("gpt2", cache=tmp_path, overrides={"mom2_adjustment": "false"})
    assert session.run("rome", [case(0)])[0].error is None
    assert session.describe("rome")["editor"]["second_moment"] is None
    assert not (tmp_path / "second-moments").exists()


def test_seeds(opened: Opener) -> None:
    quick = {"v_num_grad_steps": "1"}

    def used(seed: int) -> dict[str, Any]:
        session = opened("gpt2", seed=seed, overrides=quick)
        session.run("rome", [case(0)])
        described = session.describe("rome")
        assert described["seed"] == seed
        return dict(described["editor"])

    first, again, other = used(0), used(0), used(1)
    assert first["context_templates"] == again["context_templates"]
    assert first["second_moment"] == again["second_moment"]
    assert first["context_templates"][1:] != other["context_templates"][1:]
    assert first["second_moment"]["trace"] != other["second_moment"]["trace"]


def test_the_fingerprint_is_the_models(opened: Opener, session: EngineSession) -> None:
    family = "gpt2" if session.host.family.name == "gpt2" else "llama"
    assert opened(family).fingerprint == session.fingerprint
    assert opened("llama" if family == "gpt2" else "gpt2").fingerprint != session.fingerprint


def test_module_names_that_are_not_used_are_announced(opened: Opener) -> None:
    said: list[str] = []
    session = opened("gpt2", announce=said.append, overrides={"lm_head_module": "transformer.wte"})
    session.describe("rome")
    assert any("lm_head_module" in text and "not used" in text for text in said)


# Mistakes of the user


def test_an_unknown_editor(llama: EngineSession) -> None:
    for attempt in (
        lambda: llama.run("rone", [case(0)]),
        lambda: llama.describe("rone"),
        lambda: llama.edited("rone", case(0), "1").__enter__(),
    ):
        with pytest.raises(UsageError, match="unknown editor 'rone'") as caught:
            attempt()
        assert "did you mean 'rome'" in (caught.value.fix or "")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"v_number_grad_steps": "5"}, "did you mean 'v_num_grad_steps'"),
        ({"v_lr": "fast"}, "bad value 'fast'"),
        ({"v_lr": "-1"}, "bad value -1"),
        ({"layers": "[4]"}, "layers 0 to 3"),
        ({"mom2_corpus": "absent.txt"}, "no file absent.txt"),
    ],
)
def test_bad_hyperparameters(overrides: dict[str, str], message: str, opened: Opener) -> None:
    session = opened("gpt2", overrides=overrides)
    with pytest.raises(UsageError) as caught:
        session.run("rome", [case(0)])
    assert message in str(caught.value)
    assert f"rome.{next(iter(overrides))}" in (caught.value.where or "")


def test_a_corpus_that_is_too_short_stops_the_run(opened: Opener, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("The capital of France is Paris.", encoding="utf-8")
    session = opened("gpt2", overrides={"mom2_corpus": str(corpus)})
    for _ in range(2):  # it does not become another error the second time
        with pytest.raises(UsageError, match="singular") as caught:
            session.run("rome", [case(0), case(1)])
        assert "mom2_ridge" in (caught.value.fix or "")


def test_an_unknown_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or directory"):
        EngineSession.open(EngineSettings(model=str(tmp_path / "absent")))
    with pytest.raises(UsageError, match="did you mean 'gpt2-xl'"):
        EngineSession.open(EngineSettings(model="gpt2-xxl"))
