"""What only a real GPU can show. `python -m benchmarks gpu` runs these tests, and says what they found."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.gpu.between_devices import BOUND, CORPUS, Comparison, tables
from benchmarks.gpu.synchronisations import synchronisations
from benchmarks.gpu.targets import is_beyond
from benchmarks.programs import reverse_programs

from pytest_editpitfalls.editors import in_place_editor
from pytest_editpitfalls.engine.batch_size.memory_meter import MemoryMeter
from pytest_editpitfalls.engine.corpora import MomentSource
from pytest_editpitfalls.engine.editing.interface import EditorResources
from pytest_editpitfalls.engine.editors.resolution import resolve_hyperparameters
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.in_place.declare import declaration_of
from pytest_editpitfalls.engine.in_place.pristine import same_bits
from pytest_editpitfalls.engine.model_adapter import ModelAdapter
from pytest_editpitfalls.engine.models import memory_estimate
from pytest_editpitfalls.engine.moments import SecondMoments
from pytest_editpitfalls.engine.products import float32_products
from pytest_editpitfalls.engine.runner import run_batch
from pytest_editpitfalls.engine.scoring import Scorer
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.engine.stopping import Stopping
from pytest_editpitfalls.program import CaseScores
from tests.tiny_models import save_tiny, tiny_model

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]


def opened(folder: Path, device: str, *, dtype: str = "float32", hidden: int = 32, **settings: Any) -> EngineSession:
    corpus = folder / "corpus.txt"
    corpus.write_text(CORPUS, encoding="utf-8")
    model = save_tiny(folder / f"llama-{hidden}", "llama", hidden=hidden)
    own = tables({"mom2_corpus": str(corpus), **settings.pop("own", {})}, folder)
    return EngineSession.open(EngineSettings(str(model), device=device, dtype=dtype, config_tables=own, **settings))


def logs(answers: Sequence[CaseScores]) -> torch.Tensor:
    assert not [answer.error for answer in answers if answer.error]
    return torch.tensor(
        [p for answer in answers for probe in answer.probes for p in probe.probabilities], dtype=torch.float64
    ).log()


# Agreement


@pytest.fixture(scope="module")
def comparison() -> Iterator[Comparison]:
    with Comparison("cuda") as made:
        yield made


@pytest.mark.parametrize(
    ("family", "editor"),
    [
        ("gpt2", "rome"),
        ("llama", "memit"),
        ("gemma2", "alphaedit"),
        ("opt", "ft"),
        ("bloom", "lora"),
        ("falcon", "mend"),
        ("gptj", "grace"),
        ("gpt_neox", "wise"),
        ("mixtral", "pmet"),
        ("qwen2", "ike"),
    ],
)
def test_a_gpu_gives_what_a_cpu_gives(comparison: Comparison, family: str, editor: str) -> None:
    found = comparison.of(family, editor)
    assert "refused" in found or not is_beyond(found), found


def test_a_batch_gives_what_single_cases_give(tmp_path: Path) -> None:
    session, programs = opened(tmp_path, "cuda"), reverse_programs(4)
    together = logs(session.run("rome", programs))
    alone = logs([answer for program in programs for answer in session.run("rome", [program])])
    assert float((together - alone).abs().max()) < BOUND


# Precision


@pytest.mark.parametrize("allowed", ["highest", "high"])
def test_products_are_exact_unless_tf32_is_asked_for(allowed: str) -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(512, 512, generator=generator).cuda() for _ in range(2))
    wanted = (a.double() @ b.double()).abs().mean()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(allowed)
    try:
        with float32_products(tf32=False):
            exact = ((a @ b).double() - a.double() @ b.double()).abs().mean() / wanted
        with float32_products(tf32=True):
            rounded = ((a @ b).double() - a.double() @ b.double()).abs().mean() / wanted
        assert torch.get_float32_matmul_precision() == allowed
    finally:
        torch.set_float32_matmul_precision(before)
    assert exact < 3e-6
    if torch.cuda.get_device_capability() >= (8, 0):
        assert rounded > 5e-5


def test_tf32_moves_answers_a_little_and_only_where_it_is_asked_for(tmp_path: Path) -> None:
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU does not multiply in TF32")
    programs = reverse_programs(1)
    exact, rounded = (
        logs(opened(tmp_path, "cuda", dtype=dtype, hidden=128).run("rome", programs)) for dtype in ("float32", "tf32")
    )
    assert 1e-7 < float((exact - rounded).abs().median()) < 0.5


# Memory


def test_a_batch_that_does_not_fit_is_halved_until_it_does(tmp_path: Path, freed: None) -> None:
    programs = reverse_programs(16)
    whole = opened(tmp_path, "cuda", hidden=256, batch_size=16)
    expected = logs(whole.run("rome", programs))  # and everything that is done once
    peaks = []
    for part in (programs[:1], programs):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        whole.run("rome", part)
        peaks.append(torch.cuda.max_memory_reserved())
    if peaks[1] < 1.5 * peaks[0]:
        pytest.skip(f"16 cases take hardly more than one: {peaks}")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((0.5 * peaks[0] + 0.5 * peaks[1]) / total)
    found = logs(whole.run("rome", programs))
    record = whole.describe("rome")["batch"]
    assert record["why"].startswith("memory ran out with")
    assert record["cases"] < 16
    assert float((found - expected).abs().max()) < BOUND
    assert torch.isfinite(found).all()


def test_a_batch_is_measured_and_the_next_one_is_as_large_as_fits(tmp_path: Path, freed: None) -> None:
    session = opened(tmp_path, "cuda")
    programs = reverse_programs(20)
    logs(session.run("rome", programs))
    record = session.describe("rome")["batch"]
    assert record["cases"] >= 16
    assert record["why"]


def test_the_meter_sees_what_the_allocator_sees(tmp_path: Path, freed: None) -> None:
    session = opened(tmp_path, "cuda")
    meter = MemoryMeter(session.host.model.base_model, session.host.device)
    kept: list[torch.Tensor] = []
    with meter.open():
        kept.append(torch.zeros(5_000_000, device="cuda"))
        meter.look()
        torch.zeros(10_000_000, device="cuda")
    assert 20e6 <= meter.between < 22e6
    assert 60e6 <= meter.peak < 63e6


def test_the_memory_of_the_gpu_is_told(tmp_path: Path) -> None:
    session = opened(tmp_path, "cuda")
    said = str(memory_estimate(session.source, "float32", "cuda"))
    free = torch.cuda.mem_get_info()[0] / 1e9
    assert "available on cuda" in said
    assert abs(float(said.split("GB; ")[1].split(" GB")[0]) - free) < 0.2 * free + 1
    assert torch.cuda.get_device_name() in session.describe("rome")["model"]["device"]


# Waiting


def test_an_optimisation_step_hardly_makes_the_cpu_wait(tmp_path: Path) -> None:
    """Twice as many steps: what comes on top is what a step waits for."""
    programs = reverse_programs(2)
    counts = []
    for steps in (5, 10):
        session = opened(tmp_path, "cuda", own={"v_num_grad_steps": steps, "v_lr": 1e-4})
        session.run("rome", programs)
        counts.append(synchronisations(lambda session=session: session.run("rome", programs), "cuda"))  # type: ignore[misc]
    few, many = counts
    assert many["steps"] > few["steps"]
    assert (many["total"] - few["total"]) / (many["steps"] - few["steps"]) <= 1.5, (few, many)


def test_what_stops_is_heard_of_a_step_late_from_pinned_memory() -> None:
    stopping = Stopping(3, torch.device("cuda"))
    heard = []
    for stopped in ([], [1], [0, 2], []):
        stopping.stop(torch.tensor([job in stopped for job in range(3)], device="cuda"))
        heard.append(stopping.poll())
    assert heard[0] is None
    assert heard[1] is None
    assert [each.tolist() for each in heard[2:] if each is not None] == [[True, False, True], [False, False, False]]
    assert all(each.device.type == "cpu" for each in heard if each is not None)


# Places


def test_an_editor_in_place_leaves_every_bit_as_it_was() -> None:
    model, tokenizer = tiny_model("llama")
    model = copy.deepcopy(model).cuda()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    host = ModelAdapter.of(model, tokenizer, family_for(model.config))

    def by_gradient(model: Any, tokenizer: Any, requests: list[dict[str, Any]]) -> Any:
        for request in requests:
            text = request["prompt"].format(request["subject"]) + " " + request["target_new"]
            ids = torch.tensor([tokenizer(text)["input_ids"]], device="cuda")
            model(input_ids=ids, labels=ids).loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad + 1e-3 * torch.randn_like(parameter)
        return model

    declaration = declaration_of("mine", in_place_editor()(by_gradient), where="a test")
    values = resolve_hyperparameters("mine", declaration.hyperparameter_class(), "tiny", host.n_layers)
    forward, nothing = Forward(host), None
    resources: Any = EditorResources(host, forward, nothing, EngineSettings("tiny"), 200)  # type: ignore[arg-type]
    programs = reverse_programs(2)
    twice = [
        logs(run_batch(declaration.make(values, resources), Scorer(forward, max_tokens=200), host.encoder, programs))
        for _ in range(2)
    ]
    assert torch.equal(*twice)  # its random numbers are seeded, those of the GPU, too
    after = model.state_dict()
    assert all(same_bits(after[name], tensor) for name, tensor in before.items())


def test_second_moments_of_a_text_are_shared_between_devices_and_those_of_sampled_text_are_not(tmp_path: Path) -> None:
    text, sampled = tmp_path / "corpus.txt", MomentSource("sampled", tokens=256, ridge=0.1)
    cpu, gpu = (opened(tmp_path, device) for device in ("cpu", "cuda"))
    of_text = MomentSource("text", str(text), ridge=0.1)

    def moments(session: EngineSession, source: MomentSource, cache: str) -> torch.Tensor:
        made = SecondMoments(session.forward, fingerprint="same", cache=tmp_path / cache, max_tokens=500)
        return made.get(source, [1])[1].matrix.cpu()

    for source, files in ((of_text, 1), (sampled, 2)):
        moments(cpu, source, source.kind)
        moments(gpu, source, source.kind)
        found = list((tmp_path / source.kind).glob("*.safetensors"))
        # A matrix for each, and the sampled documents beside it.
        assert len(found) == (files if source is of_text else 2 * files)
    own = moments(gpu, of_text, "of the gpu alone")
    assert float((own - moments(cpu, of_text, "text")).norm() / own.norm()) < 1e-5


def test_workers_of_xdist_share_one_gpu_and_have_one_each_of_several(tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    model = save_tiny(tmp_path / "tiny", "gpt2")
    (tmp_path / "conftest.py").write_text(
        "import json, os, pathlib\n"
        "def pytest_sessionfinish(session):\n"
        "    import torch\n"
        "    worker = os.environ.get('PYTEST_XDIST_WORKER')\n"
        "    if worker:\n"
        "        said = [os.environ.get('CUDA_VISIBLE_DEVICES'), torch.cuda.device_count()]\n"
        "        said.append(torch.cuda.is_initialized())\n"
        "        pathlib.Path(f'{worker}.json').write_text(json.dumps(said))\n",
        encoding="utf-8",
    )
    quick = ["--pitfalls-set=ft.num_steps=2", "--pitfalls-editor=ft", "--pitfalls-suite=reverse", "--pitfalls-limit=8"]
    command = [sys.executable, "-m", "pytest", "-q", "-n2", "-p", "no:randomly", "-p", "no:cacheprovider", *quick]
    command += [f"--pitfalls-model={model}", "--pitfalls-json=run.json", "--pitfalls-batch-size=4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in (0, 1), done.stdout + done.stderr  # 1: cases of a random model fail
    cases = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["cases"]
    assert len(cases) == 8
    assert not [case for case in cases if case["outcome"] == "error"], done.stdout
    workers = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(tmp_path.glob("gw*.json"))]
    assert [count for _, count, _ in workers] == [1, 1]
    if torch.cuda.device_count() > 1:
        assert len({visible for visible, _, _ in workers}) == 2
    assert any(started for _, _, started in workers)
    assert "cuda" in json.dumps(json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["models"])


def test_a_sampled_text_is_the_same_twice(tmp_path: Path) -> None:
    from pytest_editpitfalls.engine.sampling import context_templates

    session = opened(tmp_path, "cuda")
    one, other = (context_templates(session.host, [(5, 3), (10, 2)], seed=1) for _ in range(2))
    assert one == other
    assert len(set(one)) > 2
