"""The processor cores that this process may use: those of the machine, and what a scheduler or a container leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_GROUPS = Path("sys/fs/cgroup")


@dataclass(frozen=True)
class Cores:
    """How many, at least 1, and what makes it so many, in words."""

    count: int
    why: str


def usable_cores(root: Path = Path("/")) -> Cores:
    """Return the physical cores that this process may use.

    Fewer are usable where its affinity leaves some out (``taskset``, Slurm) or where a control group has a quota of
    processor time (``docker run --cpus 2``): with more threads than that, all of them are stopped for a part of the
    time.

    Args:
        root: where ``/proc`` and ``/sys`` are.
    """
    import psutil

    logical = os.cpu_count() or 1
    physical = psutil.cpu_count(logical=False) or logical
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    found = Cores(max(1, physical), "the cores of this machine")
    if allowed < found.count:
        found = Cores(allowed, f"those of {found.count} cores that this process may run on")
    quota = cpu_quota(root)
    if quota is not None and int(quota) < found.count:
        found = Cores(max(1, int(quota)), f"the quota of {quota:g} processors that its container has")
    return found


def threads_given(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """Return the variable that says how many threads there shall be, and the number; None where the user set none.

    MKL's own comes first, as in torch. Of a list for nested regions (``4,2``) the first counts.
    """
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        first = environment.get(name, "").partition(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return name, int(first)
    return None


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the least quota of the control groups that this process is in, in processors; None without one."""
    quotas = [quota for folder in _folders(root) if (quota := _quota(folder)) is not None and quota > 0]
    return min(quotas, default=None)


def _folders(root: Path) -> Iterator[Path]:
    """The folders of the process's groups, of both versions, and of all groups around them.

    In a container the group's path may be that of the host, which is not there: its own group is the topmost then.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    tops = {root / _GROUPS: "/", root / _GROUPS / "cpu": "/", root / _GROUPS / "cpu,cpuacct": "/"}
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            tops[root / _GROUPS] = path
        elif "cpu" in controllers.split(","):
            tops[root / _GROUPS / "cpu"] = tops[root / _GROUPS / "cpu,cpuacct"] = path
    for top, path in tops.items():
        own = top / path.strip("/")
        yield from (own, *(parent for parent in own.parents if parent.is_relative_to(top)))


def _quota(folder: Path) -> float | None:
    """The quota of one group: ``cpu.max`` of version 2, ``cpu.cfs_quota_us`` of version 1."""
    try:
        if (limit := folder / "cpu.max").is_file():
            quota, period = limit.read_text(encoding="utf-8").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        return int(quota) / int(period)  # "max" and -1: none
    except (OSError, ValueError, ZeroDivisionError):
        return None
