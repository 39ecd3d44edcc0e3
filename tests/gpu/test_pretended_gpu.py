"""Every editor on a GPU that is not there: nothing mixes devices, and answers are the CPU's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.gpu.between_devices import CORPUS, differences_between, tables, train
from benchmarks.programs import reverse_programs

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import CACHE_VARIABLE, resolve
from pytest_editpitfalls.engine.sampling import sampled_documents
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.pitfalls import Probe
from pytest_editpitfalls.probes import Divergence, Generated, Perplexity
from pytest_editpitfalls.program import CaseScores, HeldQuestion, SuitePrograms
from tests.gpu.pretended import CUDA, DeviceMismatch, OnGpu, moved, pretended_gpu
from tests.tiny_models import save_tiny

PROGRAMS = [
    replace(
        program,
        states=tuple(state for state in program.states if state.name == "12"),
        probes=tuple(
            replace(probe, prompts=probe.prompts[:1])
            for probe in program.probes
            if isinstance(probe, Probe) and probe.state == "12"
        ),
    )
    for program in reverse_programs(2)
]
SUITE = SuitePrograms("reverse", lambda: PROGRAMS)


@dataclass(frozen=True)
class Sides:
    """One model on the CPU and on the pretended GPU."""

    cpu: EngineSession
    gpu: EngineSession


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    folder = tmp_path_factory.mktemp("sides")
    corpus = folder / "corpus.txt"
    corpus.write_text(CORPUS, encoding="utf-8")
    path = save_tiny(folder / "tiny", "gpt2", layers=3)
    own = tables({"mom2_corpus": str(corpus), "v_num_grad_steps": 2, "num_steps": 2, "n_iter": 2}, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder / "cpu"))
        cpu = EngineSession.open(EngineSettings(str(path), device="cpu", dtype="float32", config_tables=own))
        for each in shipped_editors():
            if each.training is not None:
                train(each, cpu, PROGRAMS, folder / f"{each.name}.safetensors")
        with pretended_gpu():
            host = ModelAdapter.of(moved(cpu.host.model), cpu.host.tokenizer, cpu.host.family)
            settings = EngineSettings(str(path), device="cuda", dtype="float32", config_tables=own)
            gpu = EngineSession(settings, host, resolve(str(path), cache_dir=folder / "gpu"))
        yield Sides(cpu, gpu)


@pytest.mark.parametrize("editor", [each.name for each in shipped_editors()])
def test_an_editor_mixes_no_devices(sides: Sides, editor: str) -> None:
    expected = sides.cpu.run(editor, PROGRAMS, suite=SUITE)
    with pretended_gpu() as gpu:
        answers = sides.gpu.run(editor, PROGRAMS, suite=SUITE)
    assert [answer.error for answer in (*expected, *answers)] == [None] * 4
    assert gpu.seen > 500
    assert differences_between(expected, answers)["max"] < 1e-4


def test_a_step_of_a_target_vector_hardly_makes_the_cpu_wait(sides: Sides) -> None:
    """Three steps more of two edits: each reads whether a mask hides anything (transformers), and nothing else."""
    waits = []
    for steps in (2, 5):
        table = {**sides.gpu.settings.config_tables["rome"], "v_num_grad_steps": steps, "v_lr": 1e-4}
        with pretended_gpu() as gpu:
            settings = replace(sides.gpu.settings, config_tables={"rome": table})
            session = EngineSession(settings, sides.gpu.host, sides.gpu.source, fingerprint="same")
            session.prepare("rome")
            gpu.waits.clear()
            session.run("rome", PROGRAMS)
            waits.append(gpu.waits)
    more = waits[1] - waits[0]
    assert more.total() <= 2 * 3, more


PROMPTS = ("The capital of France is", "The author of the book is")
OTHER_PROBES = (
    Generated("said", "12", PROMPTS, ("Rome",), max_tokens=4),
    Perplexity("fluency", "12", ("He is married to her, and she is married to him.", "The king of Spain")),
    Divergence("drift", "12", PROMPTS),
)


def values(answers: list[CaseScores]) -> list[float]:
    assert not [answer.error for answer in answers if answer.error]
    return [value for answer in answers for probe in answer.probes for value in probe.probabilities]


def test_texts_perplexities_and_divergences(sides: Sides) -> None:
    case = replace(PROGRAMS[0], probes=OTHER_PROBES)
    expected = sides.cpu.run("ft-l", [case])
    with pretended_gpu():
        found = sides.gpu.run("ft-l", [case])
    assert values(found) == pytest.approx(values(expected), rel=1e-3, abs=1e-5)
    assert [probe.texts for probe in found[0].probes] == [probe.texts for probe in expected[0].probes]


def test_what_the_base_model_holds_and_an_open_edited_model(sides: Sides) -> None:
    asked = HeldQuestion("edit1", PROMPTS, "Rome", ("Paris", "Rome", "the king of Spain"), ("mean", "sum"), share=0.5)

    def all_of(session: EngineSession) -> list[Any]:
        (held,) = session.held([asked], strongest=True)
        (vector,) = session.object_vectors([(PROMPTS[0], "Rome")], 0.5)
        with session.edited("ft-l", PROGRAMS[0], "12") as model:
            logits = model(input_ids=torch.tensor([[1, 2, 3]], device=session.host.device)).logits
        assert vector is not None
        texts = sampled_documents(session.host, 12, length=6, seed=0, rows=2)
        return [held.holds, sorted(held.wins or ()), len(texts), vector.tolist()[:8], logits[0, -1, :8].tolist()]

    expected = all_of(sides.cpu)
    with pretended_gpu():
        found = all_of(sides.gpu)
    assert found[:3] == expected[:3]
    assert found[3] == pytest.approx(expected[3], rel=1e-4, abs=1e-5)
    assert found[4] == pytest.approx(expected[4], rel=1e-4, abs=1e-4)


def test_a_network_is_trained(sides: Sides, tmp_path: Path) -> None:
    with pretended_gpu():
        train(EDITORS.get("mend"), sides.gpu, PROGRAMS, tmp_path / "mend.safetensors")
    assert (tmp_path / "mend.safetensors").stat().st_size > 1000


def test_what_a_gpu_refuses_is_refused() -> None:
    with pretended_gpu() as gpu:
        there = torch.tensor([1.0, 2.0, 3.0], device="cuda")
        assert (there.device, there.is_cuda) == (CUDA, True)
        for mistake in (
            lambda: there + torch.ones(3),
            lambda: torch.cat([there, torch.ones(3)]),
            lambda: torch.ones(3)[there.long() - 1],
            lambda: torch.ones(3).index_select(0, there.long() - 1),
            lambda: torch.rand(2, device="cuda", generator=torch.Generator().manual_seed(1)),
            lambda: torch.rand(2, generator=torch.Generator("cuda").manual_seed(1)),
        ):
            with pytest.raises(DeviceMismatch):
                mistake()
        with pytest.raises(TypeError, match="to numpy"):
            there.numpy()
        assert not gpu.waits
        there[0] = 4
        assert there[torch.tensor([0])].tolist() == [4.0]  # indices may be the CPU's, and a number as well
        assert (there * torch.tensor(2.0)).cpu().tolist() == [8.0, 4.0, 6.0]
        assert float(there.sum()) == 9.0
        assert gpu.waits.total() == 3


def test_gradients_are_the_cpu_s() -> None:
    here = torch.tensor([1.0, -2.0], requires_grad=True)
    (here.exp() * 3).sum().backward()
    with pretended_gpu():
        there = torch.tensor([1.0, -2.0], device="cuda").requires_grad_()
        (there.exp() * 3).sum().backward()
        assert isinstance(there.grad, OnGpu)
        assert torch.equal(there.grad.cpu(), here.grad)
