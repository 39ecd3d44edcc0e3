"""How many threads a run has: cores, affinity, a container's quota, what the user says, and workers that share."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest
import torch

from pytest_editpitfalls import cores
from pytest_editpitfalls.cores import Cores, cpu_quota, threads_given, usable_cores
from pytest_editpitfalls.engine import threads
from pytest_editpitfalls.execution import processors
from pytest_editpitfalls.execution.processors import threads_in_words
from pytest_editpitfalls.execution.xdist.controller import shared_threads


def group(root: Path, name: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file.replace("__", ".")).write_text(text + "\n")


def own_group(root: Path, *lines: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores."""
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 128 if logical else 64)
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(128)), raising=False)


def test_no_group_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    own_group(tmp_path, "0::/")
    group(tmp_path, "", cpu__max="max 100000")
    assert cpu_quota(tmp_path) is None


def test_the_quota_of_a_container(tmp_path: Path, many: None) -> None:
    own_group(tmp_path, "0::/")
    group(tmp_path, "", cpu__max="200000 100000")
    assert cpu_quota(tmp_path) == 2.0
    found = usable_cores(tmp_path)
    assert found.count == 2
    assert "the quota of 2 processors" in found.why


def test_the_least_quota_of_the_groups_around_counts(tmp_path: Path) -> None:
    own_group(tmp_path, "0::/slice/job/step")
    group(tmp_path, "slice/job/step", cpu__max="max 100000")
    group(tmp_path, "slice/job", cpu__max="350000 100000")
    group(tmp_path, "slice", cpu__max="800000 100000")
    assert cpu_quota(tmp_path) == 3.5


def test_a_group_whose_path_is_the_hosts(tmp_path: Path) -> None:
    own_group(tmp_path, "0::/docker/0123")
    group(tmp_path, "", cpu__max="150000 100000")
    assert cpu_quota(tmp_path) == 1.5


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
def test_a_quota_of_version_1(tmp_path: Path, folder: str) -> None:
    own_group(tmp_path, "5:cpu,cpuacct:/docker/0123", "3:memory:/docker/0123", "1:name=systemd:/")
    group(tmp_path, f"{folder}/docker/0123", cpu__cfs_quota_us="400000", cpu__cfs_period_us="100000")
    group(tmp_path, folder, cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert cpu_quota(tmp_path) == 4.0


@pytest.mark.parametrize("text", ["", "max", "x 100000", "100000 0", "1 2 3"])
def test_a_quota_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    group(tmp_path, "", cpu__max=text)
    assert cpu_quota(tmp_path) is None


def test_less_than_one_processor_is_one_thread(tmp_path: Path, many: None) -> None:
    group(tmp_path, "", cpu__max="50000 100000")
    assert usable_cores(tmp_path).count == 1


def test_affinity_and_cores(tmp_path: Path, many: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores(tmp_path) == Cores(64, "the cores of this machine")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert usable_cores(tmp_path) == Cores(3, "those of 64 cores that this process may run on")


@pytest.mark.parametrize(
    ("environment", "given"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "3"}, ("OMP_NUM_THREADS", 3)),
        ({"OMP_NUM_THREADS": "4,2"}, ("OMP_NUM_THREADS", 4)),
        ({"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, ("MKL_NUM_THREADS", 2)),
        ({"OMP_NUM_THREADS": "many"}, None),
        ({"OMP_NUM_THREADS": "0"}, None),
    ],
)
def test_what_the_user_says(environment: dict[str, str], given: tuple[str, int] | None) -> None:
    assert threads_given(environment) == given


@pytest.mark.parametrize(
    ("workers", "environment", "says"),
    [
        (0, {}, "6 threads: six cores"),
        (2, {}, "3 threads in each of 2 workers, which share 6: six cores"),
        (9, {}, "1 thread in each of 9 workers, which share 6: six cores"),
        (0, {"OMP_NUM_THREADS": "1"}, "1 thread, as OMP_NUM_THREADS says"),
        (2, {"OMP_NUM_THREADS": "4"}, "4 threads in each of 2 workers, as OMP_NUM_THREADS says"),
    ],
)
def test_the_line_of_the_header(
    workers: int, environment: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "usable_cores", lambda: Cores(6, "six cores"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert threads_in_words(workers, environment) == says
    if workers and not environment:
        assert shared_threads(workers, environment) == int(says.split()[0])


def test_the_engine_keeps_to_the_cores_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int] = []
    monkeypatch.setattr(threads, "usable_cores", lambda: Cores(2, "two"))
    monkeypatch.setattr(torch, "get_num_threads", lambda: used[-1] if used else 64)
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    threads.keep_to_cores()
    assert used == []
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    threads.keep_to_cores()
    threads.keep_to_cores()
    assert used == [2]


def test_cores_are_found_here() -> None:
    assert 1 <= cores.usable_cores().count <= (os.cpu_count() or 1)
