"""Part ``gpu``: the whole path on a tiny shape, and what becomes of steps, units and processes that fail."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import gpu
from benchmarks.gpu import marked_tests, recorder, steps
from benchmarks.gpu.precisions import PRECISIONS
from benchmarks.gpu.recorder import DeviceLost, Recorder
from benchmarks.gpu.render import render
from benchmarks.gpu.shapes import expected
from benchmarks.gpu.sizes import SIZES, Sizes
from benchmarks.gpu.steps import Step
from benchmarks.gpu.supervisor import Supervisor
from benchmarks.gpu.targets import targets
from benchmarks.part import Asked, Measured
from benchmarks.programs import reverse_programs
from benchmarks.random_models import Shape, context_templates, trained_tokenizer

TINY = Shape("tiny", "gpt2", {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 1000}, vocabulary=1000)
FAKE_PYTEST = (
    sys.executable,
    "-c",
    "print('tests/a.py::test_one PASSED [ 33%]\\ntests/a.py::test_two[a b] FAILED\\n"
    "tests/a.py::test_three SKIPPED (no)\\n== 1 failed, 1 passed in 1s ==')",
)


def started(sizes: str, names: list[str]) -> dict[str, Any]:
    """The figures of a run, before it begins."""
    found = Supervisor(sizes, "cpu", [(name, f"step {name}") for name in names], 100).found
    return {
        "device": "cpu",
        "rehearsal": True,
        "sizes": sizes,
        "budget_seconds": 100.0,
        "matrix_gflop_per_second": {"square_float32": 100.0, "embedded_float32": 80.0},
        "steps": found,
    }


def test_the_whole_path_on_a_tiny_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "least", Sizes((TINY,), reference=1, batches=(2,), automatic=4, pairs=2))
    monkeypatch.setattr(marked_tests, "COMMAND", FAKE_PYTEST)
    wanted = [each for each in steps.steps("least") if each.name != "tiny memit"]
    figures = started("least", [each.name for each in wanted])
    supervisor = Supervisor("least", "cpu", [(each.name, each.title) for each in wanted], 100)
    steps.run(wanted, sizes="least", device="cpu", seconds=300, emit=supervisor._take)
    figures["steps"] = supervisor.found
    figures["targets"] = targets(figures)
    assert {name: own["state"] for name, own in figures["steps"].items()} == {
        "agreement": "done",
        "tests": "done",
        "tiny rome": "done",
    }
    agreement = figures["steps"]["agreement"]["units"]
    assert len(agreement) == 2
    assert all(0 < own["max"] < 1e-4 for own in agreement.values()), agreement
    assert figures["steps"]["tests"]["units"]["pytest"]["failed"] == 1
    units = figures["steps"]["tiny rome"]["units"]
    of_a_cpu = [each.name for each in PRECISIONS if not each.needs_gpu]
    assert set(units) == {
        "model",
        "operations",
        "synchronisations",
        "float32 reference",
        *(f"{name} {what}" for name in of_a_cpu for what in ("automatic", "batch 2")),
    }
    assert not [own for own in units.values() if "error" in own], units
    assert units["operations"]["gflop_per_case"] > 0
    assert units["synchronisations"]["steps"] > 0
    assert units["float32 automatic"]["cases_per_second"] > 0
    assert units["float32 reference"]["seconds_per_case"] > 0
    assert units["bfloat16 automatic"]["difference_of_log_p"]["max"] > 0
    assert units["bf16-weights automatic"]["difference_of_log_p"]["max"] > 0
    assert json.loads(json.dumps(figures)) == figures
    text = render(figures)
    assert text.startswith("## A rehearsal of part gpu")
    assert "| `tests/a.py::test_two[a b]`" not in text
    assert "- `tests/a.py::test_two[a b]`" in text
    assert "### Rome on a random model of the shape of tiny" in text
    assert "Synchronisations: not counted on a CPU" in text
    assert "rome, tiny: at least 50 times as fast as today's way" in text
    assert gpu.ratios(figures) == {}
    ratios = gpu.ratios(figures | {"rehearsal": False})
    assert set(ratios) == {"tiny.rome.float32"}


def test_more_cases_are_run_where_they_fit_into_the_time() -> None:
    assert expected([(4, 3.0)], 16, on_gpu=False) == pytest.approx(12.0)
    assert expected([(4, 3.0)], 16, on_gpu=True) == pytest.approx(6.0)  # what fills a GPU is not known yet
    # 17 cases were two batches: 1 s for each, and 0.5 s for each case of its own
    assert expected([(4, 3.0), (17, 10.5)], 68, on_gpu=True) == pytest.approx(1 + 68 * 0.5)
    assert expected([(4, 3.0), (17, 3.4)], 68, on_gpu=True) == pytest.approx(
        3 - 4 * 0.05 + 68 * 0.05
    )  # not for nothing
    assert expected([(4, 3.0), (17, 3.4), (68, 5.0)], 136, on_gpu=True) == pytest.approx(10.0)


# What fails


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with steps that go wrong."""

    def measure(record: Recorder, _sizes: Sizes, *, how: str) -> None:
        record.measure("first", lambda: {"value": 1})
        if how == "raises":
            raise ValueError("of a | step\nin two lines")
        if how == "overruns":
            while True:
                time.sleep(0.01)
        if how == "unit":
            record.measure("second", lambda: {"value": 1 // 0})
            record.measure("third", lambda: {"value": 3})

    module = ModuleType("benchmarks.gpu.wrong")
    module.__dict__["measure"] = measure
    monkeypatch.setitem(sys.modules, "benchmarks.gpu.wrong", module)
    return module


def wrong(*ways: str) -> list[Step]:
    return [Step(how, how, 1, ".wrong:measure", {"how": how}) for how in ways]


def test_a_step_that_raises_or_overruns_loses_nothing_of_the_others(
    work: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    events: list[dict[str, Any]] = []
    ways = ("fine", "raises", "overruns", "unit", "fine again")
    shares = dict.fromkeys(ways, 0.0)
    steps.run(wrong(*ways), sizes="tiny", device="cpu", seconds=16, emit=events.append)
    states = {event["step"]: event["state"] for event in events if "state" in event}
    assert states == {
        "fine": "done",
        "raises": "failed: ValueError: of a / step in two lines",
        "overruns": "cut short",
        "unit": "done",
        "fine again": "done",
    }
    units = {(e["step"], e["unit"]): e["figures"] for e in events if "figures" in e}
    assert all(units[how, "first"]["value"] == 1 for how in ways)
    assert units["unit", "second"]["error"].startswith("ZeroDivisionError: ")
    assert units["unit", "third"]["value"] == 3
    shares |= {event["step"]: event["limit"] for event in events if "limit" in event}
    assert shares["fine"] == pytest.approx(16 / 5, abs=0.2)  # and what it leaves over is the others'
    assert shares["fine again"] > shares["overruns"] > shares["fine"]
    logged = capsys.readouterr().err
    assert logged.count("Traceback") == 2
    assert "unit, second:" in logged


def test_what_does_not_begin_is_said() -> None:
    events: list[dict[str, Any]] = []
    steps.run(wrong("fine"), sizes="tiny", device="cpu", seconds=1, emit=events.append)
    assert events == [{"step": "fine", "state": "not begun"}]
    figures = started("tiny", ["agreement", "tests", "tiny rome"])
    figures["targets"] = targets(figures)
    text = render(figures)
    assert text.count("Not begun: no time was left.") == 3
    assert {row["met"] for row in figures["targets"]} == {None}


def test_a_gpu_that_answers_no_more_ends_the_process_and_no_unit_is_tried_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost() -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.cuda, "synchronize", lost)
    events: list[dict[str, Any]] = []
    known = {"done": {"value": 1}}
    own = Recorder("step", "cuda", known, events.append, time.monotonic() + 10)
    assert own.measure("done", lambda: {"value": 2}) == {"value": 1}
    with pytest.raises(DeviceLost, match="device-side assert"):
        own.measure("bad", lambda: {"value": 1 // 0})
    assert [event.get("unit") for event in events] == ["bad", "bad"]
    assert own.measure("bad", lambda: {"value": 2}) is None


CHILD = """
import json, os, sys, time
order, events = json.load(open(sys.argv[1])), open(sys.argv[2], "a")
def emit(**event): print(json.dumps(event), file=events, flush=True)
for step in order["steps"]:
    emit(step=step, limit=0.5 if step == "hangs" else 30)
    for unit in ("one", "two"):
        if unit in order["known"][step]:
            continue
        emit(step=step, unit=unit)
        if step == "dies" and unit == "one":
            os.abort()
        if step == "hangs" and unit == "two":
            time.sleep(60)
        if step == "loses":
            emit(step=step, unit=unit, figures={"error": "CUDA error"})
            os._exit(3)
        emit(step=step, unit=unit, figures={"pid": os.getpid()})
    emit(step=step, state="done", seconds=1)
"""


def test_a_process_that_dies_or_hangs_costs_its_unit_and_another_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(CHILD, encoding="utf-8")
    kept: list[str] = []
    supervisor = Supervisor(
        "tiny",
        "cpu",
        [(name, name) for name in ("before", "dies", "hangs", "loses", "behind")],
        60,
        lambda: kept.append(json.dumps(supervisor.found)),
        command=(sys.executable, str(script)),
        grace=0.3,
    )
    supervisor.run()
    found = supervisor.found
    assert [own["state"] for own in found.values()] == [
        "done",
        "done",
        "failed: it did not answer, and its process was ended",
        "failed: the GPU answered no more in this process",
        "done",
    ]
    assert [own["error"] for own in found["loses"]["units"].values()] == ["CUDA error"] * 2
    assert found["dies"]["units"]["one"] == {"error": "the process died of SIGABRT"}
    assert "pid" in found["dies"]["units"]["two"]
    assert "pid" in found["hangs"]["units"]["one"]
    assert "error" in found["hangs"]["units"]["two"]
    pids = {found[name]["units"]["two"]["pid"] for name in ("before", "dies", "behind")}
    assert len(pids) == 3
    assert len(kept) >= 3


def test_a_process_that_never_begins_is_not_started_again_and_again(tmp_path: Path) -> None:
    supervisor = Supervisor(
        "tiny", "cpu", [("one", "one"), ("two", "two")], 60, command=(sys.executable, "-c", "raise SystemExit(7)")
    )
    supervisor.run()
    assert {own["state"] for own in supervisor.found.values()} == {"failed: the process ended with status 7"}


def test_tests_are_counted_as_far_as_they_got() -> None:
    found = marked_tests.run(FAKE_PYTEST, 30)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 1)
    assert found["not_passed"] == ["tests/a.py::test_two[a b]"]
    assert found["last_line"] == "1 failed, 1 passed in 1s"
    slow = "import time; print('a.py::test_one PASSED', flush=True); time.sleep(60)"
    found = marked_tests.run((sys.executable, "-c", slow), 1.5)
    assert found["passed"] == 1
    assert found["cut_short"] == "after 2 s"
    with pytest.raises(RuntimeError, match="no test has run"):
        marked_tests.run((sys.executable, "-c", "raise SystemExit(4)"), 30)


def test_time_is_limited_and_an_outer_limit_is_put_back() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(recorder.OutOfTime), recorder.time_limit(0.05):
        time.sleep(30)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


# The command


def test_it_is_only_run_where_it_is_asked_for() -> None:
    assert "gpu" not in command.check(command.parse([]))
    assert "gpu" not in command.check(command.parse(["--device", "cpu"]))
    assert command.check(command.parse(["gpu", "--device", "cpu"])) == ["gpu"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gpu", "--device", "cpu", "--refresh-docs"], "is a rehearsal"),
        (["gpu", "--device", "cpu", "--budget", "3"], "--budget: 3 seconds"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 4
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_its_device_is_a_gpu_unless_said_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["gpu"]) == 4
    said = capsys.readouterr().err
    assert "torch sees no CUDA device" in said
    assert "'gpu --device cpu' runs its whole path on tiny models" in said


def test_files_are_written_after_each_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "a.json", []

    def measure(asked: Asked) -> Measured:
        asked.keep(Measured({"so": "far"}, "## Long\n"))
        seen.append(json.loads(path.read_text(encoding="utf-8"))["parts"])
        return Measured({"all": "of it"}, "## Long\n")

    module = ModuleType("benchmarks.long")
    module.__dict__["measure"] = measure
    monkeypatch.setitem(sys.modules, "benchmarks.long", module)
    monkeypatch.setitem(command.PARTS, "long", "nothing")
    assert command.main(["long", "--json", str(path), "--model", "tiny"]) == 0
    assert seen == [{"long": {"so": "far"}}]
    assert json.loads(path.read_text(encoding="utf-8"))["parts"] == {"long": {"all": "of it"}}


def test_rows_are_as_long_as_romes() -> None:
    programs = reverse_programs(8)
    tokenizer = trained_tokenizer(programs, 4000)
    templates = context_templates(tokenizer, programs)
    assert len(templates) == 21
    assert templates[0] == "{}"
    lengths = [len(tokenizer(template.removesuffix(". {}"))["input_ids"]) for template in templates[1:]]
    assert sorted(lengths) == [5] * 10 + [10] * 10
