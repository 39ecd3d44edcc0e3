"""What the plugin itself costs: collecting, starting pytest, reporting, and the way to the first result.

Every measurement is a pytest of its own in a process of its own, with no other plugin. Compiled modules are kept (as
after any first start), in a directory of the measurement's own; for the first result, where they were installed.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scipy.stats import quantile_test

from pytest_editpitfalls.shipped import suites_directory

from .idle_engine import NO_STORE
from .part import Asked, Measured
from .tables import number, table

SUITES = 5
CASES = 12_500
MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: a store there costs what the store does, without the disk."""

TARGETS = {"collect_seconds": 3.0, "collect_mb": 300.0, "startup_ms_median": 10.0, "report_ms_per_item": 1.0}

# The process's own figures, taken by a small parent: what the kernel says of a child's peak memory begins with the
# memory of the process that started it.
LAUNCHER = """
import json, os, sys, time
started = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
figures = {"wall": time.perf_counter() - started, "cpu": used.ru_utime + used.ru_stime, "kb": used.ru_maxrss}
print(json.dumps({"status": os.waitstatus_to_exitcode(status), **figures}), file=sys.stderr)
"""


@dataclass(frozen=True)
class Spent:
    """What one process took: seconds by the clock, seconds of processor time, peak memory in MB."""

    wall: float
    cpu: float
    mb: float


class Folder:
    """A directory with the suites, the plain tests, and the environment of the measured processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
        self.environment = {
            **kept,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PYTHONPYCACHEPREFIX": str(path / "compiled"),
            "OMP_NUM_THREADS": "1",
        }
        (path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (path / "test_one.py").write_text("def test_one(): pass\n", encoding="utf-8")

    def pytest(
        self,
        *arguments: str,
        autoload: bool = False,
        passes: bool = True,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Spent:
        """Run pytest once; raises `RuntimeError` with its output where it does not end as it should."""
        environment = {**self.environment, **variables}
        if not autoload:
            environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            [sys.executable, "-S", "-c", LAUNCHER, *command],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        figures = json.loads(done.stderr.splitlines()[-1])
        if figures["status"] not in ((0,) if passes else (0, 1)):
            raise RuntimeError(f"pytest {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return Spent(figures["wall"], figures["cpu"], figures["kb"] / 1000)

    def best(self, times: int, *arguments: str) -> Spent:
        """The quickest of several runs."""
        return min((self.pytest(*arguments) for _ in range(times)), key=lambda spent: spent.wall)

    def plain_tests(self, count: int) -> str:
        """A module with as many parametrized tests that do nothing."""
        name = f"test_plain_{count}.py"
        (self.path / name).write_text(
            f"import pytest\n\n@pytest.mark.parametrize('x', range({count}))\ndef test_plain(x): pass\n",
            encoding="utf-8",
        )
        return name

    def suite(self, name: str, cases: int) -> str:
        """A suite of reverse cases about made-up places, in the format of the suites that ship; returns its option."""
        source = suites_directory()
        (self.path / "relations.toml").write_bytes((source / "relations.toml").read_bytes())
        header = {
            "name": name,
            "kind": "reverse",
            "license": "MIT",
            "provenance": "made up, to be counted and timed",
            "relations": "relations.toml",
            "cases": f"{name}.jsonl",
            "thresholds": ["cs_exp >= 1"],
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in header.items()]
        (self.path / f"{name}.toml").write_text("\n".join(["format = 1", *lines]) + "\n", encoding="utf-8")
        with (self.path / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for row in range(cases):
                file.write(json.dumps(_case(row)) + "\n")
        return f"--pitfalls-suite={name}.toml"


def _case(row: int) -> dict[str, Any]:
    land, town, other, last = f"Land {row}", f"Town {row}", f"Town {row + 1}", f"Land {row + 2}"
    return {
        "id": f"P36-{row:05}",
        "rule": "P36>P1376",
        "edits": [
            {"relation": "P36", "subject": land, "object": town, "new_object": other},
            {"relation": "P1376", "subject": other, "object": land, "new_object": last},
        ],
    }


REPORTING = {
    "report": "reporting, per item",
    "report_stored": "with result file and store on the disk",
    "report_stored_in_memory": "with result file and store in memory",
    "report_two_workers": "with result file, store on the disk, `-n 2`",
}
OURS = ("-p", "pytest_editpitfalls.plugin", "--pitfalls-editor=rome")


def collecting(folder: Folder, times: int) -> dict[str, Any]:
    """Seconds and memory of ``--collect-only`` over `CASES` cases, and of plain pytest over as many tests."""
    options = [folder.suite(f"suite{place}", CASES // SUITES) for place in range(SUITES)]
    folder.pytest("--collect-only", *OURS, folder.suite("one", 1))  # leaves the compiled modules behind
    folder.pytest("--collect-only", folder.plain_tests(1))
    ours = folder.best(times, "--collect-only", *OURS, *options)
    plain = folder.best(times, "--collect-only", folder.plain_tests(CASES))
    return {
        "collect_cases": CASES,
        "collect_seconds": ours.wall,
        "collect_cpu_seconds": ours.cpu,
        "collect_mb": ours.mb,
        "plain_collect_seconds": plain.wall,
        "plain_collect_cpu_seconds": plain.cpu,
        "plain_collect_mb": plain.mb,
    }


def starting(folder: Folder, pairs: int) -> dict[str, Any]:
    """How much later pytest ends with the plugin installed and unused: differences of pairs run next to each other.

    Other plugins are left out of both. Every other pair begins with the run without the plugin.
    """
    others = {point.name for point in importlib.metadata.entry_points(group="pytest11")} - {"editpitfalls"}
    without_others = [word for name in sorted(others) for word in ("-p", f"no:{name}")]
    figures: dict[str, Any] = {"startup_pairs": pairs}
    for label, extra in (("startup", ()), ("startup_collect_only", ("--collect-only",))):
        arguments = (*without_others, *extra, "test_one.py")

        def run(*more: str, arguments: Sequence[str] = arguments) -> Spent:
            return folder.pytest(*more, *arguments, autoload=True)

        run(), run("-p", "no:editpitfalls")
        differences: list[tuple[float, float]] = []
        for pair in range(pairs):
            runs = [(), ("-p", "no:editpitfalls")]
            spent = {more: run(*more) for more in (runs if pair % 2 else runs[::-1])}
            ours, bare = spent[runs[0]], spent[runs[1]]
            differences.append((1000 * (ours.wall - bare.wall), 1000 * (ours.cpu - bare.cpu)))
        for kind, values in zip(("ms", "cpu_ms"), zip(*differences, strict=True), strict=True):
            # Distribution-free, from order statistics: a machine's other work is nowhere near normal.
            interval = quantile_test(values, p=0.5).confidence_interval(0.95)
            figures[f"{label}_{kind}_median"] = statistics.median(values)
            figures[f"{label}_{kind}_interval"] = [round(float(bound), 3) for bound in interval]
    return figures


def reporting(folder: Folder, sizes: tuple[int, int], *, quick: bool) -> dict[str, Any]:
    """Milliseconds that each further item takes beyond what a test that does nothing takes in plain pytest.

    The slope between two sizes, so that what a run costs once is not in it; what collecting an item costs is.

    * ``report``: records, metrics, verdicts, progress and the terminal's tables; no result file, nothing stored.
    * ``report_stored``: with the result file, and the store on the disk that temporary files are on. The disk has to
      confirm every case.
    * ``report_stored_in_memory``: the same with the store in `MEMORY`, where that is: without the disk.
    * ``report_two_workers``: as ``report_stored``, two workers against two workers of plain pytest.
    """
    options = {count: folder.suite(f"reported{count}", count) for count in sizes}
    plain = {count: folder.plain_tests(count) for count in sizes}
    engine = ("-p", "benchmarks.idle_engine", *OURS, "--pitfalls-fresh", "--tb=no")
    workers = ("-p", "xdist.plugin", "-n", "2")

    def slope(run: Callable[[int], Spent]) -> Spent:
        few, many = (run(count) for count in sizes)
        items = sizes[1] - sizes[0]
        return Spent(1000 * (many.wall - few.wall) / items, 1000 * (many.cpu - few.cpu) / items, many.mb)

    def bare(*more: str) -> Spent:
        return slope(lambda count: folder.pytest(plain[count], *more))

    def unstored(count: int) -> Spent:
        return folder.pytest(*engine, options[count], passes=False, variables={NO_STORE: "1"})

    def stored(directory: Path, *more: str) -> Spent:
        with tempfile.TemporaryDirectory(dir=directory) as store:

            def run(count: int) -> Spent:
                kept = ("--pitfalls-json=out.json", f"--pitfalls-store={store}/{count}")
                return folder.pytest(*engine, *kept, options[count], *more, passes=False)

            return slope(run)

    unstored(sizes[0]), folder.pytest(plain[sizes[0]])  # leave the compiled modules behind
    beside = bare()
    found = {"report": slope(unstored), "report_stored": stored(folder.path)}
    if not quick and MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        found["report_stored_in_memory"] = stored(MEMORY)
    added = {name: (spent.wall - beside.wall, spent.cpu - beside.cpu) for name, spent in found.items()}
    if not quick and importlib.util.find_spec("xdist") is not None:
        ours, theirs = stored(folder.path, *workers), bare(*workers)
        added["report_two_workers"] = ours.wall - theirs.wall, ours.cpu - theirs.cpu
    figures: dict[str, Any] = {"report_items": sizes[1], "plain_ms_per_item": beside.wall}
    for name, (wall, cpu) in added.items():
        figures[f"{name}_ms_per_item"], figures[f"{name}_cpu_ms_per_item"] = wall, cpu
    return figures


def first_result(folder: Folder, model: str) -> dict[str, Any]:
    """Where the time goes until the first case of the shipped reverse suite has its result."""
    folder.pytest(
        *OURS,
        f"--pitfalls-model={model}",
        "--pitfalls-suite=reverse",
        "--pitfalls-limit=1",
        "--pitfalls-fresh",
        "--pitfalls-json=first.json",
        "--pitfalls-device=cpu",
        passes=False,
        variables={"PYTHONPYCACHEPREFIX": ""},  # the environment's own: thousands of modules are imported
    )
    document = json.loads((folder.path / "first.json").read_text(encoding="utf-8"))
    stages: dict[str, float] = document["run"]["first_result"]
    return {"first_result_seconds": stages}


def measure(asked: Asked) -> Measured:
    """Measure the plugin; see the module."""
    with tempfile.TemporaryDirectory(prefix="editpitfalls-plugin-") as path:
        folder = Folder(Path(path))
        figures = {
            **collecting(folder, times=1 if asked.quick else 3),
            **starting(folder, pairs=10 if asked.quick else 100),
            **reporting(folder, (200, 2000) if asked.quick else (500, CASES), quick=asked.quick),
            **first_result(folder, asked.model),
        }
    ratio = figures["plain_collect_seconds"] / figures["collect_seconds"]
    return Measured(_rounded(figures), markdown(_rounded(figures)), {"plugin.collect": round(ratio, 2)})


def markdown(figures: Mapping[str, Any]) -> str:
    """The section of the page."""
    rows = [
        [
            f"collect {figures['collect_cases']:,} cases (`--collect-only`)",
            f"{figures['collect_seconds']:.2f} s",
            f"{figures['plain_collect_seconds']:.2f} s",
            f"< {TARGETS['collect_seconds']:g} s",
        ],
        [
            "its peak memory",
            f"{figures['collect_mb']:.0f} MB",
            f"{figures['plain_collect_mb']:.0f} MB",
            f"< {TARGETS['collect_mb']:g} MB",
        ],
        _startup(figures, "startup", "a pytest that does not use the plugin starts later by"),
        _startup(figures, "startup_collect_only", "the same with `--collect-only`"),
    ]
    for name, words in REPORTING.items():
        if f"{name}_ms_per_item" in figures:
            wall, cpu = figures[f"{name}_ms_per_item"], figures[f"{name}_cpu_ms_per_item"]
            beside = f"{figures['plain_ms_per_item']:.2f} ms" if name == "report" else ""
            target = f"< {TARGETS['report_ms_per_item']:g} ms" if name == "report" else ""
            rows.append([words, f"+ {wall:.2f} ms (processor {cpu:.2f} ms)", beside, target])
    stages = figures["first_result_seconds"]
    spent = {name: seconds for name, seconds in stages.items() if name != "total"}
    spent["the rest"] = stages["total"] - sum(spent.values())
    return "\n\n".join(
        [
            "## The plugin itself",
            table(["", "with the plugin", "plain pytest", "target"], rows),
            "Plain pytest runs as many parametrized tests that do nothing. Starts are compared in "
            f"{figures['startup_pairs']} pairs of runs next to each other: the median of the differences and its 95 % "
            "interval.",
            f"Reporting is what each of {figures['report_items']:,} items adds, its collection included, with an "
            "engine that answers at once: metrics, verdict, record, progress and the tables at the end. The target "
            "is about that. The rows below it add the result file and the store, which keeps a batch before its first "
            "test ends: each case is a file of its own that the disk confirms, so that neither a crash nor a power "
            "failure loses it.",
            f"The first result of a run (one reverse case, ROME) came after {stages['total']:.1f} s:",
            table(["stage", "seconds"], [[name, number(seconds, ".2f")] for name, seconds in spent.items()]),
        ]
    )


def _startup(figures: Mapping[str, Any], label: str, words: str) -> list[str]:
    wall, (low, high) = figures[f"{label}_ms_median"], figures[f"{label}_ms_interval"]
    return [words, f"{wall:.1f} ms [{low:.1f}, {high:.1f}]", "", f"< {TARGETS['startup_ms_median']:g} ms"]


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _rounded(value) if isinstance(value, dict) else round(value, 3) if isinstance(value, float) else value
        for name, value in figures.items()
    }
