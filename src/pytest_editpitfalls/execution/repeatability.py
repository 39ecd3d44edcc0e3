"""Whether somebody's own editor gives the same when its first case is run again at the end of the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_editpitfalls.engine.editors.editor_registry import EDITORS
from pytest_editpitfalls.engine.models import HALVES
from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.program import CaseScores

from .executor import Job

Pair = tuple[str, str]
"""Names of an editor, as the engine calls it, and of a model."""

LARGEST = 0.002
"""Difference of a log-probability, relative to the larger of 1 and its size, that rounding may make.

This much in place, where the same passes are run again.
"""

LARGEST_IN_BATCHES = 0.02
"""The same where the case ran in a batch before: small differences of an edit can grow."""

LARGEST_IN_HALF = 0.2
"""The same for a model in bfloat16 or float16."""

CURE = (
    "keep nothing between calls, or keep it by the requests' case_id and step; give the editor a reset() that forgets "
    "it (@in_place_editor(reset=...)); or run every case in a process of its own with --pitfalls-isolate"
)


@dataclass(frozen=True)
class Unrepeatable:
    """An editor whose results depend on what ran before.

    Attributes:
        case: id of the case that was run twice.
        what: the difference, in words.
    """

    editor: str
    model: str
    case: str
    what: str

    def __str__(self) -> str:
        return (
            f"editor '{self.editor}' on {self.model}: {self.reason}\n  none of these figures can be believed, and none "
            f"of them stays in the store\n  fix: {CURE}"
        )

    @property
    def reason(self) -> str:
        """Why its figures cannot be believed, in one line."""
        return (
            f"a case depends on the cases before it, or on chance of its own ({self.case}, run again at the end: "
            f"{self.what})"
        )


@dataclass
class _First:
    """The first case that one editor and model computed in this process, and how many there were in all."""

    job: Job
    scores: CaseScores
    computed: int = 0


@dataclass
class RepeatCheck:
    """Remembers first cases, and runs them again.

    Args:
        run: runs a job of one case.
        dtype_of: name of the dtype of a model's weights.
    """

    run: Callable[[Job], CaseScores]
    dtype_of: Callable[[Pair], str]
    found: list[Unrepeatable] = field(default_factory=list)
    _first: dict[Pair, _First] = field(default_factory=dict)

    def computed(self, job: Job, scores: Sequence[CaseScores]) -> None:
        """A batch has been computed, not looked up."""
        if EDITORS.is_ours(job.editor):
            return  # compared with the plain way of editing by this package's own tests
        pair = job.editor, job.model
        first = self._first.get(pair)
        if first is None:
            usable = [place for place, each in enumerate(scores) if each.error is None and each.skipped is None]
            if not usable:
                return
            first = _First(job.only((job.batch[usable[0]],)), scores[usable[0]])
            self._first[pair] = first
        first.computed += len(scores)

    def check(self) -> list[Pair]:
        """Run the first case of each editor and model again; one that computed no other case is left alone.

        Returns those that give something else; `found` says what.
        """
        wrong = []
        for pair, first in self._first.items():
            if first.computed > 1 and (what := self._difference(pair, first)):
                self.found.append(Unrepeatable(*pair, first.scores.case_id, what))
                wrong.append(pair)
        self._first.clear()
        return wrong

    def _difference(self, pair: Pair, first: _First) -> str | None:
        in_place = EDITORS.get(pair[0]).form == "in place"
        in_half = self.dtype_of(pair) in HALVES
        allowed = LARGEST_IN_HALF if in_half else LARGEST if in_place else LARGEST_IN_BATCHES
        return difference(first.scores, self.run(first.job), allowed)


def difference(first: CaseScores, again: CaseScores, allowed: float) -> str | None:
    """Return how two answers to one case differ, in words; None where rounding may be all of it."""
    if again.error is not None or again.skipped is not None:
        return f"it ended with: {again.error or again.skipped}"
    worst, words = 0.0, None
    # Which word is said may turn on rounding, so other measures tell where there are any.
    told = {probe.measure for probe in first.probes} - {"said"} or {"said"}
    for one, other in zip(first.probes, again.probes, strict=True):
        if one.measure not in told:
            continue
        for a, b in zip(one.probabilities, other.probabilities, strict=True):
            size_a, size_b = _comparable(one.measure, a), _comparable(one.measure, b)
            apart = 0.0 if size_a == size_b else abs(size_a - size_b) / max(1.0, min(abs(size_a), abs(size_b)))
            if not apart <= max(allowed, worst):
                worst = apart
                words = (
                    f"{_NAMES[one.measure]} of '{one.fact}' in state {one.state} was {size_a:.4f} and is {size_b:.4f}"
                )
    return words


_NAMES: dict[Measure, str] = {
    "probability": "log p",
    "said": "the answer",
    "perplexity": "log perplexity",
    "divergence": "divergence",
}


def _comparable(measure: Measure, value: float) -> float:
    """The value whose rounding is alike whatever its size: the logarithm, or that which is in nats already."""
    if measure in ("said", "divergence"):
        return value
    return math.log(value) if value > 0.0 else -math.inf
