"""Parts `scale` and `busy` of the benchmarks, on small numbers."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil
import pytest
from benchmarks import busy, scale
from benchmarks.plugin import Folder, Spent


def size(results: int, run: tuple[float, ...], plain: tuple[float, ...]) -> dict[str, Any]:
    names = "seconds", "cpu_seconds", "peak_mb"
    ways = {"run": run, "plain": plain, "resumed": run, "two_workers": run}
    return {
        "results": results,
        "json_mb": 0.5,
        **{way: dict(zip(names, each, strict=True)) for way, each in ways.items()},
    }


SIZES = {"40": size(80, (1, 1, 90), (1, 1, 40)), "400": size(800, (8, 7, 120), (2, 1.5, 44))}


def test_a_further_result_costs_what_lies_between_two_sizes() -> None:
    found = scale.slopes(SIZES)
    assert found["growth_mb"] == 30
    assert (found["plain_growth_mb"], found["own_growth_mb"]) == (4, 26)
    assert found["ms_per_result"] == pytest.approx(1000 * (7 - 1) / 720)
    assert found["cpu_ms_per_result"] == pytest.approx(1000 * (6 - 0.5) / 720)


def test_the_section_has_each_size_and_each_target() -> None:
    workers = {"cases": [2, 10], "one_process_s_per_case": 1.5, "two_workers_s_per_case": 1.25}
    figures = {"sizes": SIZES, **scale.slopes(SIZES), "html_cases": 500, "html_mb": 1.5, "workers": workers}
    shown = scale.markdown(figures)
    assert shown.startswith("## Thousands of cases\n")
    assert "| cases | 40 | 400 |" in shown
    assert "| memory from 40 to 400 cases | + 30 MB, plain pytest's own + 4 MB | ≤ 50 MB |" in shown
    assert "1.25 s; one process with all threads 1.50 s" in shown


def test_a_suite_is_run_stored_and_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # workers have tests of their own
    folder = Folder(tmp_path)
    del folder.environment["PYTHONPYCACHEPREFIX"]  # what is compiled already will do
    found = scale.growing(folder, [3])["3"]
    assert found["results"] == 6
    assert set(found) == {"results", "run", "plain", "resumed", "json_mb"}
    assert all(found[way][what] > 0 for way in ("run", "plain", "resumed") for what in found[way])
    assert len(list((tmp_path / "store3" / "records").rglob("*.json"))) == 6


class Recording(Folder):
    """Runs nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[tuple[str, ...]] = []
        self.spinning: list[int] = []

    def pytest(
        self,
        *arguments: str,
        autoload: bool = False,
        passes: bool = True,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Spent:
        self.asked.append(arguments)
        children = psutil.Process().children()
        self.spinning.append(sum("while True: pass" in child.cmdline() for child in children))
        return Spent(float(len(self.asked)), 0.0, 0.0)


def test_a_run_is_measured_beside_processes_that_end_with_it(tmp_path: Path) -> None:
    folder = Recording(tmp_path)
    found = busy.runs(folder, "tiny", 2, (0, 1), list(busy.WAYS)[:2])
    assert folder.spinning == [0, 0, 0, 1, 1]
    assert [("-n" in asked) for asked in folder.asked] == [False, False, True, False, True]
    assert found == {"one process": {"0": 2.0, "1": 4.0}, "two workers (`-n 2`)": {"0": 3.0, "1": 5.0}}
    assert not any("while True: pass" in child.cmdline() for child in psutil.Process().children())


def test_what_a_run_takes_is_held_against_its_share() -> None:
    figures: dict[str, Any] = {
        "cores": 2,
        "cores_why": "the cores of this machine",
        "openmp": ["GNU (libgomp.so.1)"],
        "cases": 2,
        "fair_slowdown": {str(count): busy.fair(2, count) for count in busy.BUSY},
        "run_seconds": {"one process": {"0": 10.0, "1": 18.0, "2": 60.0}},
        "products_per_second": {"one thread": {"0": 900.0, "1": 880.0, "2": 450.0}},
    }
    assert figures["fair_slowdown"] == {"0": 1.0, "1": 1.5, "2": 2.0}
    figures["over_fair"] = busy.over_fair(figures)
    assert figures["over_fair"] == {"one process": {"0": 1.0, "1": 1.2, "2": 3.0}}
    assert "| one process | 10.0 s | 18.0 s (1.20) | 60.0 s (3.00) |" in busy.markdown(figures)


@pytest.mark.skipif(sys.platform != "linux", reason="the usual wheel of torch has GNU's runtime on Linux alone")
def test_the_runtime_of_openmp_is_named() -> None:
    assert any(name.startswith("GNU") for name in busy.openmp_runtimes())


def test_products_are_counted_by_processes_that_find_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        ran.append((command, env))
        return subprocess.CompletedProcess(command, 0, stdout="12.5\n")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("GOMP_SPINCOUNT", "1000")
    found = busy.products(0.1, (0,), 2)
    assert list(found) == ["one thread", "2 threads", "2 threads that spin as built"]
    assert [command[3] for command, _ in ran] == ["1", "2", "2"]
    assert [env.get("GOMP_SPINCOUNT") for _, env in ran] == [None, None, busy.SPINS_AS_BUILT]
    compile(busy.PRODUCTS, "products", "exec")
