"""Part ``shapes``: ROME on random models of the shapes of GPT2-XL and Llama-3-8B. Shapes, not weights, decide the time.

Needs a GPU; `measure_shape` itself also runs a tiny shape on a CPU.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pytest_editpitfalls.engine.products import float32_products
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.program import CaseScores

from . import machine, operations
from .answers import checked, differences
from .part import Asked, Measured
from .programs import reverse_programs
from .random_models import RandomModel, Shape, random_model
from .reference.runner import ReferenceRunner
from .tables import number, percent, table

SHAPES = (
    Shape("gpt2-xl", "gpt2", {"n_embd": 1600, "n_layer": 48, "n_head": 25, "vocab_size": 50257}),
    Shape(
        "llama-3-8b",
        "llama",
        {
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 8192,
            "rope_theta": 500000.0,
            "vocab_size": 128256,
        },
    ),
)

SUITE_CASES = 2500
"""Cases of the benchmark's reverse suite, which is extrapolated to."""


@dataclass(frozen=True)
class Amount:
    """How much is measured of one shape: cases of the reference, and fixed batch sizes of ours.

    Attributes:
        reference: cases that the reference runs.
        batches: fixed batch sizes, each run on as many cases.
        automatic: cases at the automatic batch size.
    """

    reference: int
    batches: tuple[int, ...]
    automatic: int


FULL = Amount(3, (1, 8, 32, 128), 256)
QUICK = Amount(1, (1, 32), 128)


def measure(asked: Asked) -> Measured:
    """Measure all shapes; without a GPU say so in one line."""
    if asked.device == "cpu":
        figures: dict[str, Any] = {"skipped": "needs a CUDA GPU"}
    else:
        amount = QUICK if asked.quick else FULL
        figures = {"device": asked.device, "matrix_gflop_per_second": machine.matrix_rates(asked.device)}
        figures["shapes"] = {}
        for shape in SHAPES:
            figures["shapes"][shape.name] = measure_shape(shape, asked.device, amount)
            _free(asked.device)
    ratios = {
        f"shapes.{name}.{precision}": own["precisions"][precision]["ratio"]
        for name, own in figures.get("shapes", {}).items()
        for precision in own["precisions"]
        if "ratio" in own["precisions"][precision]
    }
    return Measured(figures, render(figures), ratios)


def measure_shape(shape: Shape, device: str, amount: Amount) -> dict[str, Any]:
    """Figures of one shape: exact float32, TF32 (GPU only), and the model in bfloat16 (GPU only)."""
    on_gpu = device != "cpu"
    programs = reverse_programs(max(amount.automatic, *amount.batches))
    found: dict[str, Any] = {"precisions": {}}
    exact: list[CaseScores] = []
    with random_model(shape, device, programs) as random:
        found["parameters"] = random.parameters
        for precision in ("float32", "tf32", "bfloat16") if on_gpu else ("float32",):
            with _precision(precision, random.model):
                own = _ours(random, programs, amount, tf32=precision == "tf32")
                answers = own.pop("answers")
                exact = exact or answers
                own["difference_of_log_p"] = differences(exact, answers)
                if precision != "bfloat16":  # the reference has no such mode
                    own["reference_seconds_per_case"] = _reference(random, programs[: amount.reference])
                    own["ratio"] = round(own["reference_seconds_per_case"] / own["automatic"]["seconds_per_case"], 2)
                found["precisions"][precision] = own
    return found


def _ours(random: RandomModel, programs: Sequence[Program], amount: Amount, *, tf32: bool) -> dict[str, Any]:
    """Cases per second at each batch size, and FLOP/s at the automatic one."""
    sizes = {}
    for size in amount.batches:
        _free(random.device)
        session = random.session(size, tf32=tf32)
        session.run("rome", programs[: min(size, 4)])  # templates, kernels, allocator
        seconds, _ = _timed(session, programs[:size], random.device)
        sizes[str(size)] = _rate(seconds, size)
        del session
    _free(random.device)
    session = random.session(tf32=tf32)
    # The first part of more cases than one part is where the automatic size is measured.
    session.run("rome", programs[: min(session.batch_size("rome") + 1, amount.automatic)])
    if random.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    seconds, answers = _timed(session, programs[: amount.automatic], random.device)
    counted = programs[: min(4, amount.automatic)]
    operation_count = operations.count(lambda: session.run("rome", counted)) / len(counted)
    automatic = _rate(seconds, amount.automatic)
    automatic |= {
        "batch": session.describe("rome")["batch"],
        "gflop_per_case": round(operation_count / 1e9, 1),
        "gflop_per_second": round(operation_count / 1e9 / automatic["seconds_per_case"], 1),
        "suite_minutes": round(automatic["seconds_per_case"] * SUITE_CASES / 60, 2),
    }
    if random.device != "cpu":
        automatic["peak_mb"] = round(torch.cuda.max_memory_allocated() / 1e6, 1)
    return {"batch_sizes": sizes, "automatic": automatic, "answers": answers}


def _reference(random: RandomModel, programs: Sequence[Program]) -> float:
    """Seconds per case, after one case that warms up."""
    _free(random.device)
    reference = ReferenceRunner(random.session(), "rome")
    reference.run(programs[0])
    seconds, _ = machine.timed(lambda: [reference.run(program) for program in programs], random.device)
    return round(seconds / len(programs), 4)


def _timed(session: EngineSession, programs: Sequence[Program], device: str) -> tuple[float, list[CaseScores]]:
    seconds, answers = machine.timed(lambda: session.run("rome", programs), device)
    return seconds, checked(answers)


def _rate(seconds: float, cases: int) -> dict[str, Any]:
    return {
        "cases": cases,
        "seconds_per_case": round(seconds / cases, 5),
        "cases_per_second": round(cases / seconds, 3),
    }


def _free(device: str) -> None:
    """What earlier sessions held, second moments above all: sessions are in cycles, which only a search finds."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()


@contextmanager
def _precision(name: str, model: Any) -> Iterator[None]:
    """Matrix products in exact float32, in TF32 (the reference, too), or the model itself in bfloat16."""
    if name == "bfloat16":
        model.to(torch.bfloat16)
    with float32_products(tf32=name == "tf32"):
        yield


_PRECISIONS = {"float32": "float32", "tf32": "TF32 products", "bfloat16": "model in bfloat16"}
_HEADER = (
    "precision",
    "reference, s / case",
    "ours, cases / s",
    "ratio",
    "2,500 cases, minutes",
    "of the matrix rate",
    "max difference of log p",
)
_RATES = {"float32": "square_float32", "tf32": "square_tf32", "bfloat16": "square_bfloat16"}


def render(figures: dict[str, Any]) -> str:
    """The section of these figures: Markdown from the heading (level 2) on."""
    parts = ["## Large shapes"]
    if "skipped" in figures:
        parts.append(f"Not run here: {figures['skipped']} (`python -m benchmarks shapes --device cuda`).")
        return "\n\n".join(parts) + "\n"
    rates = figures["matrix_gflop_per_second"]
    parts.append(
        "ROME on reverse cases, random models. Square matrix products reach "
        + ", ".join(f"{rates[key] / 1e3:,.0f} TFLOP/s in {name}" for name, key in _RATES.items() if key in rates)
        + " in the same run."
    )
    for name, own in figures["shapes"].items():
        parts.append(f"### {name} ({own['parameters'] / 1e9:.2f} billion parameters)")
        rows = [_row(precision, each, rates) for precision, each in own["precisions"].items()]
        parts += [table(_HEADER, rows), _batch_sizes(own["precisions"])]
    return "\n\n".join(parts) + "\n"


def _row(precision: str, own: dict[str, Any], rates: dict[str, float]) -> list[str]:
    ours = own["automatic"]
    rate = rates.get(_RATES[precision])
    ratio = own.get("ratio")
    return [
        f"{_PRECISIONS[precision]} (batch {ours['batch']['cases']})",
        number(own.get("reference_seconds_per_case"), ".2f"),
        number(ours["cases_per_second"], ".2f"),
        number(ratio, ".1f", " x"),
        number(ours["suite_minutes"], ".1f"),
        percent(ours["gflop_per_second"] / rate if rate else None),
        number(own["difference_of_log_p"]["max"], ".1e"),
    ]


def _batch_sizes(precisions: dict[str, Any]) -> str:
    sizes = list(dict.fromkeys(size for own in precisions.values() for size in own["batch_sizes"]))
    rows = [
        [
            _PRECISIONS[precision],
            *(number(own["batch_sizes"][size]["cases_per_second"], ".2f") for size in sizes),
            number(own["automatic"]["cases_per_second"], ".2f"),
        ]
        for precision, own in precisions.items()
    ]
    return table(["cases / s by batch size", *sizes, "automatic"], rows)
