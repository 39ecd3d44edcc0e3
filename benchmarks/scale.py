"""What a run costs as its suite grows: memory, processor time and files, with an engine that answers at once.

Every measurement is a pytest of its own in a process of its own, with no other plugin; beside it runs plain pytest with
as many tests that do nothing. Two editors edit each case, so that a suite of 4,000 cases gives 8,000 results.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .part import Asked, Measured
from .plugin import Folder, Spent
from .tables import table

SIZES = (40, 400, 4000)
"""Cases of a suite."""

HTML_CASES = 12_500
EDITORS = ("rome", "memit")

TARGETS = {"growth_mb": 50.0, "ms_per_result": 2.0, "resume_seconds": 10.0, "html_mb": 5.0}

BASE = ("-p", "pytest_editpitfalls.plugin", "-p", "benchmarks.idle_engine", "--tb=no")
WORKERS = ("-p", "xdist.plugin", "-n", "2")


def editing(editors: Sequence[str]) -> list[str]:
    return [f"--pitfalls-editor={editor}" for editor in editors]


def growing(folder: Folder, sizes: Sequence[int]) -> dict[str, Any]:
    """One run of each size: computed and stored, taken up again from the store with one editor, with two workers.

    Returns:
        ``sizes``: by cases, each with its results, ``run``, ``plain``, ``resumed`` and (with pytest-xdist)
        ``two_workers``, each of these seconds by the clock, seconds of processor time and MB at the peak; and MB of the
        result file.
    """
    found: dict[str, Any] = {}
    folder.pytest(*BASE, *editing(EDITORS), folder.suite("first", 1))  # leaves the compiled modules behind
    folder.pytest(folder.plain_tests(1))
    for cases in sizes:
        option, results = folder.suite(f"scale{cases}", cases), cases * len(EDITORS)
        store, written = f"--pitfalls-store=store{cases}", folder.path / f"scale{cases}.json"
        each = {
            "run": folder.pytest(*BASE, *editing(EDITORS), option, store, f"--pitfalls-json={written.name}"),
            "plain": folder.pytest(folder.plain_tests(results)),
            "resumed": folder.pytest(*BASE, *editing(EDITORS[:1]), option, store),
        }
        if importlib.util.find_spec("xdist") is not None:
            fresh = f"--pitfalls-store=workers{cases}"
            each["two_workers"] = folder.pytest(*BASE, *WORKERS, *editing(EDITORS), option, fresh)
        facts = {name: _facts(spent) for name, spent in each.items()}
        found[str(cases)] = {"results": results, **facts, "json_mb": written.stat().st_size / 1e6}
    return found


def _facts(spent: Spent) -> dict[str, float]:
    return {"seconds": spent.wall, "cpu_seconds": spent.cpu, "peak_mb": spent.mb}


def slopes(sizes: Mapping[str, Any]) -> dict[str, float]:
    """What the two largest sizes say of each further result: beyond plain pytest's, where it says ``own``."""
    (_, few), (_, many) = sorted(sizes.items(), key=lambda pair: int(pair[0]))[-2:]
    results = many["results"] - few["results"]

    def more(way: str, what: str) -> float:
        return float(many[way][what] - few[way][what])

    return {
        "growth_mb": more("run", "peak_mb"),
        "plain_growth_mb": more("plain", "peak_mb"),
        "own_growth_mb": more("run", "peak_mb") - more("plain", "peak_mb"),
        "ms_per_result": 1000 * (more("run", "seconds") - more("plain", "seconds")) / results,
        "cpu_ms_per_result": 1000 * (more("run", "cpu_seconds") - more("plain", "cpu_seconds")) / results,
    }


def page(folder: Folder, cases: int) -> dict[str, float]:
    """MB of the HTML page of so many cases, and what the run that writes it takes."""
    written = folder.path / "scale.html"
    spent = folder.pytest(*BASE, *editing(EDITORS[:1]), folder.suite("page", cases), f"--pitfalls-html={written.name}")
    return {"html_cases": cases, "html_mb": written.stat().st_size / 1e6, "html_peak_mb": spent.mb}


def real_workers(folder: Folder, model: str, limits: tuple[int, int]) -> dict[str, Any]:
    """Seconds that each further case takes with the real engine: one process with all cores, and two workers.

    The slope between two numbers of cases, so that loading the model is not in it. ROME with few steps.
    """
    environment = {name: value for name, value in folder.environment.items() if name != "OMP_NUM_THREADS"}
    threads = Folder(folder.path)
    threads.environment = environment
    asked = [f"--pitfalls-model={model}", "--pitfalls-suite=reverse", "--pitfalls-fresh", "--pitfalls-device=cpu"]
    options = ["-p", "pytest_editpitfalls.plugin", "--pitfalls-editor=rome", *asked]
    options += ["--pitfalls-set=rome.v_num_grad_steps=3", "--tb=no"]

    def slope(*more: str) -> float:
        few, many = (threads.pytest(*options, f"--pitfalls-limit={n}", *more, passes=False).wall for n in limits)
        return (many - few) / (limits[1] - limits[0])

    threads.pytest(*options, "--pitfalls-limit=1", passes=False)  # what is kept between runs is there now
    alone, together = slope(), slope(*WORKERS)
    return {"cases": list(limits), "one_process_s_per_case": alone, "two_workers_s_per_case": together}


def measure(asked: Asked) -> Measured:
    """Measure how a run grows; see the module."""
    with tempfile.TemporaryDirectory(prefix="editpitfalls-scale-") as path:
        folder = Folder(Path(path))
        sizes = growing(folder, SIZES[:2] if asked.quick else SIZES)
        figures = {"sizes": sizes, **slopes(sizes), **page(folder, 500 if asked.quick else HTML_CASES)}
        if importlib.util.find_spec("xdist") is not None:
            figures["workers"] = real_workers(folder, asked.model, (2, 10) if asked.quick else (8, 40))
    figures = json.loads(json.dumps(figures), parse_float=lambda text: round(float(text), 3))
    return Measured(figures, markdown(figures))


def markdown(figures: Mapping[str, Any]) -> str:
    """The section of the page."""
    sizes = figures["sizes"]
    rows = [
        ["results, with two editors", *(f"{each['results']:,}" for each in sizes.values())],
        ["run: seconds", *_row(sizes, "run", "seconds", ".1f")],
        ["run: seconds of processor time", *_row(sizes, "run", "cpu_seconds", ".1f")],
        ["run: memory at its peak, MB", *_row(sizes, "run", "peak_mb", ",.0f")],
        ["plain pytest, as many tests: memory, MB", *_row(sizes, "plain", "peak_mb", ",.0f")],
        ["result file, MB", *(f"{each['json_mb']:,.1f}" for each in sizes.values())],
        ["one editor's results from the store: seconds", *_row(sizes, "resumed", "seconds", ".1f")],
        ["the same: seconds of processor time", *_row(sizes, "resumed", "cpu_seconds", ".1f")],
    ]
    if all("two_workers" in each for each in sizes.values()):
        rows.append(["run with `-n 2`: seconds", *_row(sizes, "two_workers", "seconds", ".1f")])
    few, many = list(sizes)[-2:]
    largest = sizes[many]
    held = [
        [
            f"memory from {int(few):,} to {int(many):,} cases",
            f"+ {figures['growth_mb']:.0f} MB, plain pytest's own + {figures['plain_growth_mb']:.0f} MB",
            f"≤ {TARGETS['growth_mb']:g} MB",
        ],
        [
            "store and reports, beyond plain pytest",
            f"{figures['ms_per_result']:.2f} ms a result (processor {figures['cpu_ms_per_result']:.2f} ms)",
            f"≤ {TARGETS['ms_per_result']:g} ms",
        ],
        [
            f"{int(many):,} results from the store",
            f"{largest['resumed']['seconds']:.1f} s",
            f"≤ {TARGETS['resume_seconds']:g} s for 4,000",
        ],
        [
            f"HTML page of {figures['html_cases']:,} cases",
            f"{figures['html_mb']:.1f} MB",
            f"≤ {TARGETS['html_mb']:g} MB for {HTML_CASES:,}",
        ],
    ]
    if (workers := figures.get("workers")) is not None:
        alone, together = workers["one_process_s_per_case"], workers["two_workers_s_per_case"]
        held.append(
            [
                "a case with two workers, real engine",
                f"{together:.2f} s; one process with all threads {alone:.2f} s",
                "not slower",
            ]
        )
    return "\n\n".join(
        [
            "## Thousands of cases",
            "Reverse cases of made-up places, with an engine that answers at once, result file and store on the disk.",
            table(["cases", *(f"{int(cases):,}" for cases in sizes)], rows),
            table(["", "measured", "target"], held),
            "Plain pytest keeps its items and three reports of each to the end, as it does for any tests. The real "
            "engine is measured by reverse cases on the embedded model, ROME with three steps, by the slope between "
            "two numbers of cases."
            if workers is not None
            else "Plain pytest keeps its items and three reports of each to the end, as it does for any tests.",
        ]
    )


def _row(sizes: Mapping[str, Any], way: str, what: str, form: str) -> list[str]:
    return [f"{each[way][what]:{form}}" for each in sizes.values()]
