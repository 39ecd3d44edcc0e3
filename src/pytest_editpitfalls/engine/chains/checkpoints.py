"""A long chain goes on where it was: its edited models are kept in files while it runs.

A file's name is the digest of everything that the model in it depends on: the base model, the editor with its
hyper-parameters and its source, the suite where the editor takes it, the seed, and every edit up to there, in order. So
a file is never taken for another chain's, and nothing is kept of a chain whose edits have changed. It holds the model
after so many steps, and what the editor needs for the next one. When the cases of the chain have their scores, its
files go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytest_editpitfalls.cases.digests import digest_of
from pytest_editpitfalls.engine.editing.interface import EditResult
from pytest_editpitfalls.engine.moments.tensor_files import read_tensors, remove, write_tensors
from pytest_editpitfalls.program import Program

from .keeping import NotKeepable, as_plain, from_plain
from .prefixes import Prefix
from .run import Run

SAVE_SECONDS = 60.0
"""Time between two savings: what a chain that is killed has to do again, at most."""

SAVE_SHARE = 20
"""Saving takes at most one part in so many of the time."""

WORTH_SECONDS = 10.0
"""Work that is worth a file when a chain is stopped by Ctrl-C or an error."""

LONG = 8
"""A chain of fewer steps is neither kept nor looked for."""

KEPT_SECONDS = 14 * 24 * 3600.0
"""A file that nobody has touched for so long is of a chain that nobody goes on with."""

WRITING_SECONDS = 3600.0
"""A file that is being written is touched more often than that: another process may be at it."""

FORMAT = 1

Wanted = tuple[Run, Prefix]


def is_long(program: Program) -> bool:
    """Whether a chain of the program is worth files."""
    return any(len(state.steps) >= LONG for state in program.states)


class ChainFiles:
    """The files of unfinished chains of one editor on one model.

    Args:
        directory: where they lie.
        identity: what the edited models depend on besides the edits, in one string.
        device: where tensors are put.
        announce: called with a message where a file is refused, or a chain goes on where it was.
    """

    def __init__(
        self,
        directory: Path,
        identity: str,
        device: torch.device,
        announce: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._directory, self._identity, self._device, self._announce = directory, identity, device, announce
        self._runs: list[Run] = []
        self._names: dict[Prefix, str] = {}
        self._rolling: dict[Run, Path] = {}
        self._written: dict[Run, set[Path]] = {}
        self._saved = time.monotonic()
        self._interval = SAVE_SECONDS
        self._not_kept: set[str] = set()

    def resumed(self, runs: Sequence[Run]) -> set[Prefix]:
        """Take what is there into the runs; returns the models that need not be made."""
        self._saved = time.monotonic()
        self._remove_old()
        try:
            there = {path.name for path in self._directory.iterdir()}
        except OSError:
            there = set()
        known: set[Prefix] = set()
        for run in runs:
            if run.open and any(prefix.depth >= LONG for prefix in run.asked.values()):
                self._runs.append(run)
                self._name_all(run)
                if there:
                    known |= self._resume(run, there)
        return known

    def _remove_old(self) -> None:
        """Remove what killed writers left, and the files of chains that nobody went on with."""
        now = time.time()
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                age = WRITING_SECONDS if path.suffix == ".tmp" else KEPT_SECONDS
                with contextlib.suppress(OSError):
                    if path.suffix in (".tmp", ".safetensors") and now - path.stat().st_mtime > age:
                        remove(path)

    def keep_if_due(self, made: Sequence[Wanted]) -> None:
        """Write the newest models, where enough time went by since it was done last."""
        if time.monotonic() - self._saved >= self._interval:
            self.keep(made)

    def keep(self, made: Sequence[Wanted]) -> None:
        """Write the newest models, and those of states that were passed."""
        started = time.monotonic()
        newest = dict(made)
        for run in self._runs:
            self._keep_if_possible(run, newest.get(run))
        self._saved = time.monotonic()
        self._interval = max(SAVE_SECONDS, SAVE_SHARE * (self._saved - started))

    def worth_keeping(self) -> bool:
        """Whether what was done since the last saving is worth a file."""
        return time.monotonic() - self._saved >= WORTH_SECONDS

    def discard(self, runs: Sequence[Run]) -> None:
        """Remove the files of chains whose cases have their scores."""
        for run in runs:
            for path in self._written.pop(run, ()):
                remove(path)
            self._rolling.pop(run, None)

    def _keep_if_possible(self, run: Run, newest: Prefix | None) -> None:
        try:
            self._keep(run, newest)
        except NotKeepable as error:
            self._say_once(f"no file can hold what the editor keeps ({error})")
        except (RuntimeError, MemoryError) as error:  # the chain itself can go on
            said = (str(error).splitlines() or [""])[0]
            self._say_once(f"its file could not be written ({type(error).__name__}: {said})")

    def _say_once(self, why: str) -> None:
        if why not in self._not_kept:
            self._not_kept.add(why)
            self._announce(f"a chain that is stopped starts anew: {why}")

    def _keep(self, run: Run, newest: Prefix | None) -> None:
        for steps, prefix in run.asked.items():
            is_new = steps and prefix is not newest and self._path(prefix) not in self._written.get(run, ())
            if is_new and steps in run.models:
                self._write(run, prefix, EditResult(run.models[steps]), is_whole=False)
        if newest is None or newest not in run.results:
            return
        old = self._rolling.get(run)
        if not self._write(run, newest, run.results[newest], is_whole=True):
            return
        path = self._path(newest)
        of_states = {self._path(each) for each in run.asked.values() if each.depth}
        if old is not None and old != path and old not in of_states:
            remove(old)
            self._written[run].discard(old)
        self._rolling[run] = path

    def _write(self, run: Run, prefix: Prefix, result: EditResult, *, is_whole: bool) -> bool:
        """Write the file of a model; returns whether it is there."""
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {
            "chain": self._names[prefix],
            "depth": prefix.depth,
            "model": as_plain(result.model, tensors),
            "state": as_plain(result.state, tensors) if is_whole else None,
            "whole": is_whole,
            "notes": run.notes,
        }
        facts["content"] = _content(tensors)
        written = write_tensors(self._path(prefix), tensors, facts)
        if written:
            self._written.setdefault(run, set()).add(self._path(prefix))
        return written

    def _resume(self, run: Run, there: set[str]) -> set[Prefix]:
        """Take the models of a run's states, and the furthest ones from which the others can be made."""
        needed: set[Prefix] = {run.base}
        reached = 0
        for steps, prefix in run.asked.items():
            if not steps:
                continue
            if (found := self._read(run, prefix, there)) is not None:
                run.models[steps] = found.model
                reached = max(reached, prefix.depth)
                continue
            here = prefix
            while here not in needed:
                needed.add(here)
                assert here.parent is not None
                if here.parent in run.results:
                    break
                if (before := self._read(run, here.parent, there, whole=True)) is not None:
                    run.results[here.parent] = before
                    reached = max(reached, here.parent.depth)
                    break
                here = here.parent
        if reached:
            deepest = max(prefix.depth for prefix in run.asked.values())
            self._announce(f"{run.program.case_id}: the chain goes on behind edit {reached} of {deepest}")
        return {prefix for prefix in run.base.below() if prefix not in needed}

    def _read(self, run: Run, prefix: Prefix, there: set[str], *, whole: bool = False) -> EditResult | None:
        """What a file holds; None where there is none, or it is refused, which is announced."""
        if prefix not in self._names:
            return None
        path = self._path(prefix)
        if path.name not in there:
            return None
        found = read_tensors(path, self._device)
        if found is None or found[1].get("content") != _content(found[0]):
            self._refuse(path, "it is damaged", there)
            return None
        tensors, facts = found
        if facts.get("chain") != self._names[prefix] or facts.get("depth") != prefix.depth:
            self._refuse(path, "it is another chain's", there)
            return None
        if whole and not facts.get("whole"):
            return None
        try:
            result = EditResult(from_plain(facts["model"], tensors), from_plain(facts["state"], tensors))
        except (ValueError, KeyError, TypeError):
            self._refuse(path, "another version wrote it", there)
            return None
        for note in facts.get("notes", ()):
            run.note(str(note))
        self._written.setdefault(run, set()).add(path)
        if facts.get("whole"):
            self._rolling[run] = path
        return result

    def _refuse(self, path: Path, why: str, there: set[str]) -> None:
        there.discard(path.name)
        self._announce(f"the checkpoint {path} is not used, as {why}; what was in it is computed again")

    def _name_all(self, run: Run) -> None:
        """Give every model of a run its name: a digest of all that it depends on."""
        start = json.dumps([FORMAT, self._identity, run.program.edits_id])
        digests = {run.base: hashlib.sha256(start.encode()).hexdigest()}
        requests = [digest_of(step) for step in run.program.steps]
        for prefix in run.base.below():
            assert prefix.parent is not None
            before = digests[prefix.parent]
            digests[prefix] = hashlib.sha256(f"{before} {prefix.step} {requests[prefix.step]}".encode()).hexdigest()
            self._names[prefix] = digests[prefix]

    def _path(self, prefix: Prefix) -> Path:
        return self._directory / f"{self._names[prefix][:32]}.safetensors"


def _content(tensors: Mapping[str, Tensor]) -> str:
    """Digest of all numbers: a chain may rest on them for hours, and a norm does not see every flipped bit."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def kept_on_the_way(files: ChainFiles | None, made: Callable[[], Sequence[Wanted]]) -> Iterator[None]:
    """Whatever stops the chains inside (Ctrl-C, no memory): the newest models are written first."""
    try:
        yield
    except BaseException:
        if files is not None and files.worth_keeping():
            files.keep(made())
        raise
