"""One program by the reference: edit in place, score, put the weights back, state by state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.pitfalls import Probe, Program
from pytest_editpitfalls.program import CaseScores, EditRequest, ProbeScore

from .borrowed import Borrowed
from .editors import EditedMatrices, Memit, Rome
from .rows import probabilities


class InPlace(Protocol):
    """An editor that changes the weights and keeps no copy of them."""

    matrices: EditedMatrices
    borrowed: Borrowed

    def write(self, requests: Sequence[EditRequest]) -> None:
        """Write the requests of one step."""


EDITORS: dict[str, Callable[[Borrowed], InPlace]] = {"rome": Rome, "memit": Memit}
"""The editors that the reference is written for."""


class ReferenceRunner:
    """Runs programs one at a time. `Program.held` is not asked: the released code does not ask it.

    Args:
        session: the model, and the editor whose templates and second moments are taken.
        editor: a key of `EDITORS`.
    """

    def __init__(self, session: EngineSession, editor: str) -> None:
        borrowed = Borrowed.of(session, editor)
        self._host = borrowed.host
        self._editor = EDITORS[editor](borrowed)

    @property
    def steps(self) -> int:
        """Of a target vector's optimisation, at most."""
        return int(self._editor.borrowed.hyperparameters["v_num_grad_steps"])

    @contextmanager
    def fewer_steps(self, count: int) -> Iterator[None]:
        """While open, an optimisation has so many steps at most."""
        whole = self._editor.borrowed
        changed = {**whole.hyperparameters, "v_num_grad_steps": min(count, self.steps)}
        self._editor.borrowed = replace(whole, hyperparameters=changed)
        try:
            yield
        finally:
            self._editor.borrowed = whole

    def run(self, program: Program) -> CaseScores:
        """Edit and score; the weights are as before when it returns or raises."""
        answers: dict[int, ProbeScore] = {}
        seconds = {"edit": 0.0, "score": 0.0}
        for chain in _longest(program):
            copies: list[dict[int, Tensor]] = []
            try:
                started = time.perf_counter()
                for step in chain:
                    copies.append(self._editor.matrices.copies())
                    self._editor.write(program.steps[step])
                seconds["edit"] += time.perf_counter() - started
                started = time.perf_counter()
                for length in range(len(chain), -1, -1):
                    self._score(program, chain[:length], answers)
                    if copies:
                        self._editor.matrices.restore(copies.pop())
                seconds["score"] += time.perf_counter() - started
            finally:
                if copies:
                    self._editor.matrices.restore(copies[0])
                self._host.prepacked.look_again()
        return CaseScores(
            case_id=program.case_id,
            probes=tuple(answers[index] for index in range(len(program.probes))),
            seconds=sum(seconds.values()),
            timings=seconds,
        )

    def _score(self, program: Program, steps: tuple[int, ...], answers: dict[int, ProbeScore]) -> None:
        states = {state.name for state in program.states if state.steps == steps}
        for index, probe in enumerate(program.probes):
            assert isinstance(probe, Probe), "the suites that are compared ask for probabilities"
            if probe.state in states and index not in answers:
                found = probabilities(self._host, probe.prompts, probe.target)
                answers[index] = ProbeScore(probe.fact, probe.state, found)


def _longest(program: Program) -> list[tuple[int, ...]]:
    """Chains of steps that no other state goes on from: on the way back all states in between are met."""
    chains = {state.steps for state in program.states}
    return sorted(
        chain for chain in chains if not any(other != chain and other[: len(chain)] == chain for other in chains)
    )
