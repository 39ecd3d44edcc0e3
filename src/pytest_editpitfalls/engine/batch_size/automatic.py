"""Cases of one editor on one model, run in parts that fit into memory.

The first part is measured, and small where memory could be short; the memory model that follows says how large the
others are. Within what is asked for at a time the longest cases come first: those that are measured are then the worst
ones, memory runs out early if it does, and rows of about the same length meet in a pass. The order of a run's cases is
left alone otherwise, because the caller needs the answers to the next cases next; a part whose cases are longer than
the measured ones is made smaller instead.

Where memory runs out all the same, the part is halved, and later ones are no larger than what did fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from pytest_editpitfalls.engine.isolation import BatchDoesNotFit, free_memory
from pytest_editpitfalls.engine.runner import forwards_only
from pytest_editpitfalls.engine.settings import CPU_CASES, Progress, ProgressCallback, as_part, silent
from pytest_editpitfalls.probes import AnyProbe, Generated
from pytest_editpitfalls.program import CaseScores, Program

from .memory_meter import MemoryMeter
from .memory_model import SAFETY, Choice, MemoryModel, Shape, cases_that_fit, choose

MEASURED_CASES = 4
"""Cases of the part that is measured: enough that what is there once does not count for much."""

MARGIN = 4
"""By which factor the estimate may be wrong where the measured part is as large as a CPU's batches.

Starting with four cases adds an eighth to the time of sixteen (measured: passes are less full), so it is only done
where memory could be short.
"""

LEAST_TOKENS = 768
"""Padded tokens that a pass keeps when a batch is halved: with fewer, passes cost their launches and nothing else."""

CHARACTERS_OF_TOKEN = 4
"""About as many as a token of English has: what is generated is counted by them before there is any of it."""

Work = Callable[[Sequence[Program], int, ProgressCallback], list[CaseScores]]
"""(cases, padded tokens of a pass, progress) -> their answers; raises `BatchDoesNotFit` for several cases only."""


@dataclass(frozen=True)
class Limits:
    """What bounds a batch.

    Attributes:
        devices: where the model lies.
        most_cases: more are no faster.
        most_tokens: more tokens in a pass are no faster.
        free: bytes of the device that this process may count on now.
        whole_matrices: whether an edit keeps whole matrices.
    """

    shape: Shape
    devices: tuple[torch.device, ...]
    most_cases: int
    most_tokens: int
    free: Callable[[], int]
    whole_matrices: bool = False

    def estimate(self) -> MemoryModel:
        """What a batch is taken to need before one has been measured."""
        return MemoryModel(self.shape.case_bytes(self.whole_matrices), self.shape.token_bytes)

    def measured_cases(self) -> int:
        """Cases of the part that is measured."""
        estimate = self.estimate()
        careful = MemoryModel(MARGIN * estimate.case_bytes, MARGIN * estimate.token_bytes)
        plenty = min(self.choice(careful).cases, CPU_CASES)
        return max(plenty, min(self.choice(estimate).cases, MEASURED_CASES))

    def chains(self, program: Program) -> int:
        """Cases like this one that half of the free memory has room for, by what the states of its chain keep."""
        each = self.shape.chain_bytes(len(state.steps) for state in program.states)
        return cases_that_fit((1 - SAFETY) * self.free() / 2, 0.0, each, self.most_cases) if each else self.most_cases

    def choice(self, model: MemoryModel) -> Choice:
        """The largest batch that fits and is worth its size."""
        return choose(
            model,
            self.free(),
            most_cases=self.most_cases,
            most_tokens=self.most_tokens,
            device="GPU" if self.devices[0].type == "cuda" else "CPU",
        )


class BatchSize:
    """How many cases of one editor are run together, and the loop that does so.

    Args:
        base_model: the model's blocks, without the head.
        fixed: cases of a batch where that is given, and why; None is automatic.
        announce: called with a message when memory, and nothing else, bounds a batch.
        tell: called with the cases that did fit where memory ran out before.
        told: asked for the same of other processes; None where it ran out in none.

    Attributes:
        choice: as it is now.
    """

    def __init__(
        self,
        limits: Limits,
        base_model: nn.Module,
        *,
        fixed: tuple[int, str] | None = None,
        announce: Callable[[str], None] = lambda _: None,
        tell: Callable[[int], None] = lambda _: None,
        told: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._limits, self._base_model, self._announce = limits, base_model, announce
        self._tell, self._told = tell, told
        self._ran_out = False  # in this process, since a part did fit
        self._model = limits.estimate()
        self._is_open = fixed is None  # whether it is still to be measured
        first = limits.choice(self._model)
        measured = limits.measured_cases()
        if fixed is not None:
            self.choice = Choice(fixed[0], first.tokens, fixed[1])
        elif measured == first.cases:  # no smaller than what follows
            self.choice = first
        else:
            self.choice = replace(first, cases=measured, why="the first batch, which is to be measured")
        self._fits = self.choice
        self._of_chains = ""

    @property
    def record(self) -> dict[str, Any]:
        """The choice as plain JSON types, and whether long chains made batches smaller than it says."""
        why = "; ".join(each for each in (self.choice.why, self._of_chains) if each)
        return asdict(replace(self.choice, why=why))

    @property
    def cases(self) -> int:
        """Cases that are worth asking for at a time.

        Before the first part is measured a few times its size, so that it has the longest of some; not all that there
        may be, since their answers come together.
        """
        self._heed_others()
        return min(self._limits.most_cases, CPU_CASES) if self._is_open else self.choice.cases

    def run(self, programs: Sequence[Program], work: Work, progress: ProgressCallback = silent) -> list[CaseScores]:
        """The answers of ``work``, in the programs' order, which is run part by part."""
        lengths = [characters(program) for program in programs]
        left = sorted(range(len(programs)), key=lambda index: -lengths[index])
        answers: dict[int, CaseScores] = {}
        progress = forwards_only(progress)
        while left:
            self._heed_others()
            part = left[: self._next(programs[left[0]], lengths[left[0]], len(left))]
            chosen = [programs[index] for index in part]
            whole = len(part) == len(programs)
            report = progress if whole else as_part(progress, len(answers), len(part), len(programs))
            try:
                if self._is_open and len(part) < len(left):
                    found = self._measured(chosen, work, report)
                else:
                    found = work(chosen, self.choice.tokens, report)
            except BatchDoesNotFit:
                found = None
            if found is None:
                # Outside of the except clause, whose traceback would keep the batch's tensors alive.
                self._is_open, self._ran_out = False, True
                self.choice = self.choice.halved(len(part), least_tokens=LEAST_TOKENS)
                free_memory()
                continue
            if len(part) == 1 and found[0].error is not None:
                self.choice = self._fits  # a case that does not even fit alone says nothing about the others
                self._ran_out = False
            self._settle()
            answers.update(zip(part, found, strict=True))
            left = left[len(part) :]
        return [answers[index] for index in range(len(programs))]

    def _heed_others(self) -> None:
        """Take no more cases than did fit in a process where memory ran out."""
        most = self._told()
        if most is not None and most < self.choice.cases:
            why = f"memory ran out before, where {most} did fit"
            self._fits = self.choice = replace(self.choice, cases=most, why=why)

    def _next(self, longest: Program, length: int, left: int) -> int:
        """Cases of the next part, of as many as are left."""
        size = min(self._size(length), left)
        of_chains = self._limits.chains(longest)
        if of_chains < min(size, self._limits.most_cases):  # not by how many are worth it
            edits = max(len(state.steps) for state in longest.states)
            said = f"chains of {edits} edits in batches of {of_chains}: half of the free memory has no room for more"
            if said != self._of_chains:
                self._of_chains = said
                self._announce(said)
        return min(size, of_chains)

    def _size(self, length: int) -> int:
        """Cases of the next part, the longest of which has so many characters."""
        if self._model.length is None or length <= self._model.length:
            return self.choice.cases
        return min(self.choice.cases, self._limits.choice(self._model.of_length(length)).cases)

    def _measured(self, chosen: Sequence[Program], work: Work, progress: ProgressCallback) -> list[CaseScores]:
        """The answers of the first part; what it took makes the choice for the others."""
        meter = MemoryMeter(self._base_model, self._limits.devices)

        def look(latest: Progress) -> None:
            # Editors report progress between two passes; before the scoring all edited models are there.
            meter.look(always=latest.stage == "score" and latest.done == 0)
            progress(latest)

        with meter.open():
            found = work(chosen, self.choice.tokens, look)
        done = [
            program
            for program, answer in zip(chosen, found, strict=True)
            if answer.error is None and answer.skipped is None
        ]
        if done:
            self._model = MemoryModel.measured(
                cases=len(done),
                length=sum(map(characters, done)) / len(done),
                between=meter.between,
                peak=meter.peak,
                # rows behind a kept prefix are cut by what is new in them, so that a first pass may be larger
                tokens=min(meter.tokens, self.choice.tokens),
                shape=self._limits.shape,
            )
            self._is_open = False
            self.choice = self._limits.choice(self._model)
        return found

    def _settle(self) -> None:
        """The choice has worked for a part."""
        if self.choice != self._fits and self.choice.cases < self._limits.most_cases:
            self._announce(f"batches of {self.choice.cases}: {self.choice.why}")
        if self._ran_out:
            self._tell(self.choice.cases)
            self._ran_out = False
        self._fits = self.choice


def characters(program: Program) -> int:
    """Characters of everything that is written and asked: how long a case is, without a tokenizer.

    Edits that several programs share count for none of them: however many programs, they are written once.
    """
    requests = [] if program.shared else [request for step in program.steps for request in step]
    written = sum(len(each.prompt) + len(each.subject) + len(each.target_new) for each in requests)
    return written + sum(len(text) + _behind(probe) for probe in program.probes for text in probe.inputs)


def _behind(probe: AnyProbe) -> int:
    """Characters that come behind each text of a probe."""
    return CHARACTERS_OF_TOKEN * probe.max_tokens if isinstance(probe, Generated) else len(probe.object)
