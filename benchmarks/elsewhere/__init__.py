"""Part ``elsewhere``: editors that others publish, by name from their checkouts, beside ours of the same method."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.part import Asked, Measured
from benchmarks.tables import number
from pytest_editpitfalls.outputs import write_text
from pytest_editpitfalls.store.sources import engine_source_digest

from .pairs import CHECKOUTS, PAIRS, STEPS, Pair

ROOT = Path(__file__).parents[2]
LIMIT = 300
"""Seconds that one pair may take."""

CLOSE = 1e-3
"""Median of |d log p| up to which two edits count as the same."""


def measure(asked: Asked) -> Measured:
    """Measure every pair whose checkout is there, each in a process of its own."""
    if asked.checkouts is None:
        figures: dict[str, Any] = {"skipped": "no --checkouts"}
        return Measured(figures, "## Editors of others\n\nNot run: no `--checkouts` was given.")
    commits, pairs = _commits(asked.checkouts), {}
    for pair in PAIRS[:3] if asked.quick else PAIRS:
        of = _digest(pair, asked, commits[CHECKOUTS[pair.collection]])
        kept = asked.kept / f"{pair.name.replace(' ', '-')}.json" if asked.kept is not None else None
        if kept is not None and (found := _read(kept)).get("of") == of:
            pairs[pair.name] = found
            continue
        pairs[pair.name] = found = _measured(pair, asked) | {"of": of}
        if kept is not None and "error" not in found:
            write_text(json.dumps(found), kept, where="--kept")
    figures = {"model": asked.model, "steps": STEPS, "commits": commits, "pairs": pairs}
    return Measured(figures, render(figures))


def _digest(pair: Pair, asked: Asked, commit: str | None) -> str:
    """What figures are of: others that were kept are not taken."""
    settings = [pair.theirs, pair.ours, dict(pair.values), dict(pair.own), pair.templates, pair.moments, pair.grouped]
    code = [commit, engine_source_digest(), *map(version, ("torch", "transformers"))]
    of = [*settings, asked.model, asked.device, *code]
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()[:16]


def _read(kept: Path) -> dict[str, Any]:
    """Figures of an earlier run; nothing where there are none, or a run was broken off while it wrote them."""
    try:
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


def _measured(pair: Pair, asked: Asked) -> dict[str, Any]:
    """Figures of a process that runs both; why there are none ("error")."""
    assert asked.checkouts is not None
    folder = asked.checkouts / CHECKOUTS[pair.collection]
    if not folder.is_dir():
        return {"error": f"there is no checkout {folder.name}"}
    command = [sys.executable, "-m", f"{__name__}.one", pair.name, "--checkouts", str(asked.checkouts.absolute())]
    command += ["--model", asked.model, "--device", asked.device]
    load = round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {LIMIT} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    found: dict[str, Any] = json.loads(lines[-1])
    return {**found, "load": load}


def _commits(checkouts: Path) -> dict[str, str | None]:
    """Short name of each checkout's commit, its day, and whether files differ; None where it is no git checkout."""
    found: dict[str, str | None] = {}
    for name in CHECKOUTS.values():
        command = ["git", "-C", str(checkouts / name), "log", "-1", "--format=%h of %cs", "--abbrev=7"]
        is_git = (checkouts / name / ".git").exists()
        done = subprocess.run(command, capture_output=True, text=True, check=False) if is_git else None
        found[name] = (done.stdout.strip() or None) if done is not None else None
        if found[name] is not None:
            command = ["git", "-C", str(checkouts / name), "status", "--porcelain", "--untracked-files=no"]
            if subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip():
                found[name] = f"{found[name]}, changed"
    return found


def render(figures: dict[str, Any]) -> str:
    """The section of the document."""
    commits = ", ".join(f"{name} {commit or 'of an unknown commit'}" for name, commit in figures["commits"].items())
    loads = [found["load"] for found in figures["pairs"].values() if found.get("load") is not None]
    load = f" Load of the machine: {min(loads)} to {max(loads)}." if loads else ""
    rows = ["| theirs | ours | lines | median | max | moved | s, theirs | s, ours | remarks |"]
    rows += ["| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    rows += [
        f"| {' | '.join(_row(pair, figures['pairs'][pair.name]))} |" for pair in PAIRS if pair.name in figures["pairs"]
    ]
    parts = [
        "## Editors of others",
        f"Run by name from checkouts ({commits}) on {figures['model']}: the first edit of one case of `reverse`, with "
        f"{figures['steps']} steps and few layers. Both sides get the same file of hyper-parameters, context templates "
        "and second moments. *Lines*: lines of Python that had to be written. *Median* and *max* are of "
        "|difference of log p| between both edited models, over 20 answers after the edit; *moved*: the median by "
        f"which ours moved them. Seconds are of the edit.{load}",
        "\n".join(rows),
    ]
    return "\n\n".join(parts)


def _row(pair: Pair, found: dict[str, Any]) -> list[str]:
    head = [f"{pair.name} (`{pair.theirs}`)", f"`{pair.ours}`"]
    if "error" in found:
        return [*head, *["-"] * 6, f"not run: {_one_line(found['error'])}"]
    remarks = [f"random: {pair.draws}"] if pair.draws else []
    if pair.differs:
        remarks.append(pair.differs)
    if found["median"] > CLOSE and not remarks:
        remarks.append("differs, and it is not known why")
    figures = [number(found["median"], ".1e"), number(found["max"], ".1e"), number(found["moved"], ".2f")]
    figures += [number(found[key], ",.1f") for key in ("seconds_theirs", "seconds_ours")]
    return [*head, "0", *figures, "; ".join(remarks)]


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
