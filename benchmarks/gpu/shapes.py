"""Today's way and ours on random models of large shapes. Shapes, not weights, decide the time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks import machine, operations
from benchmarks.answers import checked, differences
from benchmarks.programs import reverse_programs
from benchmarks.random_models import RandomModel, Shape, random_model
from benchmarks.reference.runner import ReferenceRunner
from pytest_editpitfalls.engine.bf16_weights import keep_matrices_in_bf16
from pytest_editpitfalls.engine.families import family_for
from pytest_editpitfalls.engine.products import float32_products
from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.pitfalls import Program
from pytest_editpitfalls.program import CaseScores

from .precisions import Precision, available
from .recorder import Figures, Recorder
from .sizes import Sizes
from .synchronisations import synchronisations

COUNTED = 4
"""Cases whose operations and synchronisations are counted, and of the first run."""

GROWTH, LEAST_GROWTH = 4, 1.3
"""How many times the cases of the run before a run has: until a GPU is full, more hardly take longer. And the least."""

KEPT = 32
"""Cases whose answers are compared between precisions, at most."""

FEW_STEPS = (2, 6)
"""Steps of the target vector after which today's way is timed, to know beforehand what a whole case takes."""


def measure(recorder: Recorder, sizes: Sizes, *, shape: Shape, editor: str) -> None:
    """Measure one editor on one shape: in each precision ours, today's way, and ours at fixed batch sizes.

    What a target is about comes first. Units: "float32 automatic", "float32 reference", "float32 batch 32" and so on,
    "model", "operations" and "synchronisations".
    """
    programs = reverse_programs(max(sizes.automatic, *sizes.batches))
    _free(recorder.device)
    started = time.monotonic()
    with random_model(shape, recorder.device, programs) as model:
        made = round(time.monotonic() - started, 1)
        recorder.measure("model", lambda: {"parameters": model.parameters, "seconds": made})
        run = _Shape(recorder, sizes, model, editor, programs)
        left = list(available(recorder.device))
        while left:
            first = left[0]
            model.model.to(first.weights)
            if first.matrices_in_bf16:
                keep_matrices_in_bf16(model.model, family_for(model.model.config).blocks)
            now = [each for each in left if each.kept == first.kept]
            left = [each for each in left if each.kept != first.kept]
            run.measure(now, behind=left)


@dataclass(frozen=True)
class _Unit:
    """One measurement.

    Attributes:
        name: in the figures.
        weight: its share of the time that is left, beside the units behind it.
        work: measures, in so many seconds if it can.
    """

    name: str
    weight: float
    work: Callable[[float], Figures]


class _Shape:
    """One editor on one random model.

    Attributes:
        answers: to the first cases, of the first precision that has any: what others are compared with.
    """

    def __init__(
        self, recorder: Recorder, sizes: Sizes, random: RandomModel, editor: str, programs: Sequence[Program]
    ) -> None:
        self._recorder, self._sizes, self._random = recorder, sizes, random
        self._editor, self._programs = editor, programs
        self._sessions: dict[str, EngineSession] = {}
        self._behind = 0.0
        self.answers: list[CaseScores] = []

    def measure(self, precisions: Sequence[Precision], behind: Sequence[Precision]) -> None:
        """All units of precisions that have the model's weights as they are now.

        Args:
            behind: precisions that are measured afterwards, and need time, too.
        """
        self._sessions.clear()  # those of other weights
        units = [_Unit(f"{each.name} automatic", 6, partial(self._automatic, each)) for each in precisions]
        units.append(_Unit("operations", 0.5, partial(self._operations, precisions[0])))
        units += [
            _Unit(f"{each.name} reference", 4, partial(self._reference, each)) for each in precisions if each.reference
        ]
        units += [
            _Unit(f"{each.name} batch {size}", 1, partial(self._batch, each, size))
            for size in self._sizes.batches
            for each in precisions
        ]
        units.append(_Unit("synchronisations", 0.5, partial(self._synchronisations, precisions[0])))
        later = sum(6 + len(self._sizes.batches) + 4 * each.reference for each in behind)
        for place, unit in enumerate(units):
            share = unit.weight / (later + sum(each.weight for each in units[place:]))
            self._recorder.measure(unit.name, partial(unit.work, self._recorder.left() * share))
            _free(self._random.device)

    def _session(self, precision: Precision) -> EngineSession:
        """One for each precision: second moments and their factors are in it."""
        if precision.name not in self._sessions:
            self._sessions.clear()
            _free(self._random.device)
            self._sessions[precision.name] = self._random.session(dtype=precision.dtype)
        return self._sessions[precision.name]

    def _automatic(self, precision: Precision, seconds: float) -> Figures:
        """Cases per second at the automatic batch size, in runs of more and more cases while there is time."""
        session, programs, device = self._session(precision), self._programs, self._random.device
        most = self._sizes.automatic
        session.prepare(self._editor)

        def run(cases: int) -> tuple[float, list[CaseScores]]:
            return machine.timed(lambda: checked(session.run(self._editor, programs[:cases])), device)

        end = time.monotonic() + seconds
        cases = min(COUNTED, most)
        taken, answers = run(cases)
        runs = [(cases, taken)]
        # The first part of more cases than one part is where the automatic size is measured.
        cases = min(session.batch_size(self._editor) + 1, most)
        while cases > runs[-1][0]:
            left, wanted = end - time.monotonic(), expected(runs, cases, on_gpu=device != "cpu")
            if wanted > left and len(runs) > 1:
                cases = int(cases * left / wanted)
            if (wanted > left and len(runs) < 2) or cases < LEAST_GROWTH * runs[-1][0]:
                break
            _reset_peak(device)
            taken, answers = run(cases)
            runs.append((cases, taken))
            cases = min(GROWTH * cases, most)
        if len(runs) == 1 and taken <= end - time.monotonic():
            _reset_peak(device)
            taken, answers = run(runs[0][0])
            runs.append((runs[0][0], taken))
        found: Figures = {"runs": [[count, round(each, 3)] for count, each in runs]}
        if len(runs) == 1:
            found["not_warmed_up"] = True
        found |= _rate(taken, runs[-1][0])
        found |= {"batch": session.describe(self._editor)["batch"], **_peak(device)}
        found["prepare_seconds"] = round(session.seconds.get(f"prepare {self._editor}", 0.0), 2)
        common = answers[:KEPT]
        if self.answers:
            found["difference_of_log_p"] = differences(self.answers, common)
        else:
            self.answers = common
        return found

    def _batch(self, precision: Precision, size: int, seconds: float) -> Figures:
        """Cases per second in batches of that size."""
        session, device = self._session(precision), self._random.device
        programs = self._programs[:size]
        # The session itself cuts what it is given into batches; fewer cases than one batch are not cut.
        warm, _ = machine.timed(lambda: checked(session.run(self._editor, programs)), device)
        rounds = max(1, min(4, int(seconds / max(warm, 1e-3)) - 1))
        _reset_peak(device)
        taken, _ = machine.timed(lambda: [checked(session.run(self._editor, programs)) for _ in range(rounds)], device)
        allowed = session.batch_size(self._editor)
        cut = {"cut_into_batches_of": allowed} if allowed < size else {}
        return _rate(taken, rounds * size) | _peak(device) | cut

    def _reference(self, precision: Precision, seconds: float) -> Figures:
        """Seconds of a case by today's way; extrapolated from a few steps of it where a case takes too long."""
        session, device, program = self._session(precision), self._random.device, self._programs[0]
        started = time.monotonic()
        with float32_products(tf32=precision.tf32):
            runner = ReferenceRunner(session, self._editor)
            few, more = (min(count, runner.steps) for count in FEW_STEPS)

            def taken(steps: int) -> float:
                with runner.fewer_steps(steps):
                    return machine.timed(lambda: runner.run(program), device)[0]

            taken(1)  # warms up, and inverts the second moment
            first, second = taken(few), taken(more)
            each_step = max(0.0, second - first) / max(1, more - few)
            expected = second + each_step * (runner.steps - more)
            left = seconds - (time.monotonic() - started)
            cases = min(self._sizes.reference, int(left / max(expected, 1e-3)))
            if cases < 1:
                said = f"from {few} and {more} of {runner.steps} steps"
                return {"seconds_per_case": round(expected, 4), "extrapolated": said}
            _reset_peak(device)
            whole, _ = machine.timed(lambda: [runner.run(each) for each in self._programs[:cases]], device)
        return {"cases": cases, "seconds_per_case": round(whole / cases, 4), **_peak(device)}

    def _operations(self, precision: Precision, _seconds: float) -> Figures:
        session, programs = self._session(precision), self._programs[:COUNTED]
        count = operations.count(lambda: checked(session.run(self._editor, programs)))
        return {"cases": len(programs), "gflop_per_case": round(count / len(programs) / 1e9, 2)}

    def _synchronisations(self, precision: Precision, _seconds: float) -> Figures:
        session, programs = self._session(precision), self._programs[:COUNTED]
        return synchronisations(lambda: checked(session.run(self._editor, programs)), self._random.device)


def expected(runs: Sequence[tuple[int, float]], cases: int, *, on_gpu: bool) -> float:
    """Seconds that so many cases will take, by what fewer of them took.

    Args:
        runs: (cases, seconds), the fewest cases first; the first of them has warmed up what comes behind it.
        on_gpu: whether more cases may run beside one another.
    """
    count, seconds = runs[-1]
    if not on_gpu or len(runs) > 2:
        return seconds * cases / count  # at most
    if len(runs) < 2:
        return 2 * seconds  # a batch, and one more of a single case
    # Two batches had taken twice what a batch takes at all, and their cases' own time.
    before, earlier = runs[-2]
    own = max((seconds - 2 * earlier) / (count - 2 * before), seconds / count / GROWTH)
    return max(0.0, earlier - before * own) + cases * own


def _rate(seconds: float, cases: int) -> dict[str, Any]:
    return {
        "cases": cases,
        "seconds_per_case": round(seconds / cases, 5),
        "cases_per_second": round(cases / seconds, 3),
    }


def _reset_peak(device: str) -> None:
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()


def _peak(device: str) -> dict[str, float]:
    """The most that torch's tensors took; not known on a CPU."""
    if device == "cpu":
        return {}
    return {
        "peak_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1),
        "reserved_mb": round(torch.cuda.max_memory_reserved() / 1e6, 1),
    }


def _free(device: str) -> None:
    """What earlier sessions held, second moments above all: sessions are in cycles, which only a search finds."""
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
