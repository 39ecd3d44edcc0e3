"""Memory that really runs out (an address-space limit on a process), and NaN in a checkpoint or an edit."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import save_tiny

from pytest_editpitfalls.engine.editing.interface import EditJob, EditResult
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.fine_tuning.whole_matrices import FineTuning
from pytest_editpitfalls.engine.overlay import LowRankDelta
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, EditRequest, State

STATES = (State("0", ()), State("1", (0,)), State("12", (0, 1)))
CASES = 16
ROOT = Path(__file__).parents[2]


def program(number: int) -> Program:
    steps = (
        (EditRequest("The capital of {} is", f"France {number}", "Rome"),),
        (EditRequest("{} speaks", f"Danielle {number}", "Russian"),),
    )
    probes = tuple(Probe("fact", state.name, (f"The capital of France {number} is",), "Rome") for state in STATES)
    return Program(f"P{number:04}", steps, STATES, probes)


def opened(checkpoint: Path, **settings: Any) -> EngineSession:
    """The cache is where EDITPITFALLS_CACHE says."""
    return EngineSession.open(EngineSettings(str(checkpoint), device="cpu", **settings))


def plain(answers: list[CaseScores]) -> list[dict[str, Any]]:
    return [
        {"error": answer.error, "values": [value for probe in answer.probes for value in probe.probabilities]}
        for answer in answers
    ]


# Memory. Below, what runs in a process of its own.

QUICK = {"ft": {"layers": "[1]", "num_steps": "2", "lr": "0.001"}}


def _size() -> int:
    """Bytes of address space that this process has."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmSize"))


def capped(checkpoint: Path) -> list[dict[str, Any]]:
    """Run a batch of FT, whose edits are whole matrices, without a limit and with less and less room to grow."""
    import resource

    torch.set_num_threads(1)
    session, programs = opened(checkpoint, overrides=QUICK), [program(number) for number in range(CASES)]
    session.run("ft", programs)  # the first batch is measured
    calls: list[tuple[int, str | None]] = []
    edit = FineTuning.edit

    def watched(self: FineTuning, jobs: list[EditJob], progress: Any) -> list[EditResult]:
        try:
            results = edit(self, jobs, progress)
        except Exception as error:
            calls.append((len(jobs), str(error)))
            raise
        calls.append((len(jobs), None))
        return results

    FineTuning.edit = watched  # type: ignore[method-assign, assignment]
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    found = []
    for spare in (None, 400, 340, 290, 250, 210, 180, 150, 120):
        limit = resource.RLIM_INFINITY if spare is None else _size() + (spare << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
        answers = session.run("ft", programs)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))
        found.append({"spare": spare, "answers": plain(answers), "calls": list(calls)})
        if any(error for _, error in calls):
            break
        calls.clear()
    return found


def starved(checkpoint: Path) -> list[dict[str, Any]]:
    """No room at all for a batch, and then none for what all cases share."""
    import resource

    torch.set_num_threads(1)
    rome = {"mom2_tokens": "400000", "layers": "[1]"}
    session = opened(checkpoint, overrides={**QUICK, "rome": rome})
    assert session.host.prepacked.nbytes > 0
    session.describe("rome")  # its modules are imported while there is room for them
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_size() + (2 << 20), hard))
    answers = session.run("ft", [program(0), program(1)])
    session.host.prepacked.give_up()  # or they make room when oneDNN fails
    resource.setrlimit(resource.RLIMIT_AS, (_size() + (2 << 20), hard))
    try:
        session.run("rome", [program(0)])
        message = ""
    except UsageError as error:
        message = str(error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, hard))
    after = session.run("ft", [program(0), program(1)])
    return [{"answers": plain(answers), "message": message}, {"answers": plain(after)}]


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matrices of 3 MB: sixteen cases of a dense editor take some 100 MB more than eight."""
    return save_tiny(tmp_path_factory.mktemp("heavy") / "tiny", "llama", hidden=512, layers=2)


def in_a_process(what: str, checkpoint: Path) -> list[dict[str, Any]]:
    """The limit is the kernel's: torch's own allocator fails, in whatever it happens to be doing."""
    environment = {
        **os.environ,
        "EDITPITFALLS_CACHE": str(checkpoint.parent / "cache"),
        "OMP_NUM_THREADS": "1",
        # Freed memory goes back to the system at once: what a run needs does not depend on the runs before it.
        "MALLOC_MMAP_THRESHOLD_": str(1 << 17),
        "MALLOC_ARENA_MAX": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests"))),
    }
    command = [sys.executable, __file__, what, str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS and /proc")


@linux
def test_a_batch_that_does_not_fit_is_done_in_parts(heavy: Path) -> None:
    free, *_, limited = in_a_process("capped", heavy)
    assert free["calls"] == [[CASES, None], [CASES, None]]
    failed = [(size, error) for size, error in limited["calls"] if error is not None]
    assert failed, "no limit did bite"
    assert failed[0][0] == CASES
    assert all("can't allocate memory" in error for _, error in failed)
    assert [CASES // 2, None] in limited["calls"]
    first = next(i for i, (_, error) in enumerate(limited["calls"]) if error is not None)
    assert max(size for size, _ in limited["calls"][first + 1 :]) <= CASES // 2  # once and for all
    for one, other in zip(limited["answers"], free["answers"], strict=True):
        assert one["error"] is None
        assert one["values"] == pytest.approx(other["values"], rel=1e-5)


@linux
def test_where_no_case_fits_each_says_so_and_nothing_crashes(heavy: Path) -> None:
    starving, fed = in_a_process("starved", heavy)
    for answer in starving["answers"]:
        assert answer["error"].startswith("editor 'ft', edit 1: RuntimeError: ")
        assert "can't allocate memory" in answer["error"]
    assert "memory ran out while preparing 'rome'" in starving["message"]
    assert "fix: use a device with more memory" in starving["message"]
    assert [answer["error"] for answer in fed["answers"]] == [None, None]


# NaN


def spoil(checkpoint: Path, value: float, part: str) -> tuple[str, Path]:
    """Write ``value`` into one number of one weight of a checkpoint; returns its name and file."""
    for path in sorted(checkpoint.glob("*.safetensors")):
        tensors = load_file(path)
        for name, tensor in tensors.items():
            if part in name:
                tensor.view(-1)[7] = value
                save_file(tensors, path, metadata={"format": "pt"})
                return name, path
    raise AssertionError(part)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_checkpoint_with_nan_is_refused_with_weight_and_file(
    value: float, family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    checkpoint = save_tiny(tmp_path / "tiny", family)
    name, path = spoil(checkpoint, value, "mlp.c_proj.weight" if family == "gpt2" else "up_proj.weight")
    with pytest.raises(UsageError) as caught:
        opened(checkpoint)
    message = str(caught.value)
    assert f"the weight '{name}' has 1 of " in message
    assert caught.value.where == str(path)
    assert caught.value.fix


def test_the_shard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    checkpoint = save_tiny(tmp_path / "tiny", "llama")
    AutoModelForCausalLM.from_pretrained(checkpoint).save_pretrained(checkpoint, max_shard_size="40KB")
    (checkpoint / "model.safetensors").unlink()
    assert len(list(checkpoint.glob("model-*.safetensors"))) > 2
    name, path = spoil(checkpoint, math.nan, "layers.3.mlp.down_proj")
    with pytest.raises(UsageError, match=f"'{name}'") as caught:
        opened(checkpoint)
    assert caught.value.where == str(path)


def test_numbers_that_are_too_large_for_the_dtype(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    checkpoint = save_tiny(tmp_path / "tiny", "llama")
    name, _ = spoil(checkpoint, 1e6, "layers.1.mlp.up_proj")
    with pytest.raises(UsageError, match=f"'{name}' .* in float16") as caught:
        opened(checkpoint, dtype="float16")
    assert "--pitfalls-dtype" in (caught.value.fix or "")
    assert opened(checkpoint).run("ice", [program(0)])[0].error is None


def in_place_nan(model: Any, _tokenizer: Any, requests: Any) -> None:
    with torch.no_grad():
        weight = model.get_parameter("model.layers.2.mlp.down_proj.weight")
        weight.mul_(1.1)
        if "France 1" in requests[0]["subject"]:
            weight[0, 0] = math.nan


class BatchedNan:
    """Writes an update with one NaN into case 1."""

    name = "batched"

    def __init__(self, _hyperparameters: Any, resources: Any) -> None:
        self.host = resources.host

    def prepare(self, progress: Any = None) -> None:
        pass

    def edit(self, jobs: Any, progress: Any = None) -> list[EditResult]:
        results = []
        for job in jobs:
            d_o, d_k = self.host.matrix_shape(2)
            u, v = torch.full((d_o, 1), 0.1), torch.full((d_k, 1), 1 / d_k)
            if "France 1" in job.requests[0].subject:
                u[3] = math.nan
            results.append(EditResult((*job.model, LowRankDelta(self.host.down_projection_path(2), u, v))))
        return results


@pytest.mark.parametrize("editor", [in_place_nan, BatchedNan], ids=["in place", "batched"])
def test_an_edit_with_nan_is_an_error_that_names_the_weight(
    editor: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITPITFALLS_CACHE", str(tmp_path / "cache"))
    session = opened(save_tiny(tmp_path / "tiny", "llama"))
    EDITORS.add("mine", editor, origin="a test")
    try:
        good, bad, other = session.run("mine", [program(0), program(1), program(2)])
    finally:
        EDITORS.forget_added()
    assert bad.probes == ()
    error = bad.error or ""
    assert error.startswith("editor 'mine', edit 1: ")
    assert "'model.layers.2.mlp.down_proj" in error
    assert "is not finite (NaN or infinity)" in error
    for answer in (good, other):
        assert answer.error is None
        assert all(math.isfinite(value) for probe in answer.probes for value in probe.probabilities)


if __name__ == "__main__":
    print(json.dumps({"capped": capped, "starved": starved}[sys.argv[1]](Path(sys.argv[2]))))
