"""Round trips: a fact is edited away and back again, several times; for how many trips do the other true objects live?

A round edit is the pitfalls benchmark's (Li et al. 2024, arXiv:2310.02129, section 2.3). That repeated edits leave
residues, so that what was written over can less and less be brought back, is found by "The model agreed, but didn't
learn" (arXiv:2604.05995) on what a model chooses; here it is asked of probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from pytest_editpitfalls.cases.case import Case, Edit
from pytest_editpitfalls.metrics.controls import with_control
from pytest_editpitfalls.metrics.metric import NOT_PUBLISHED, PAPER, Compute, FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import edit_success, jensen_shannon, log_ratio, share_kept, wins
from pytest_editpitfalls.program import Program

from ._pitfall import FactWords, Pitfall, ask, program_of
from ._several import SeveralConstruction, SeveralRow, probabilities
from ._topics import LIFELONG

TRIPS = (1, 2, 4, 8)
"""After so many trips the model is asked."""

ALIVE = 0.5
"""A true object lives while it has this share of its probability."""


class RoundTripsRow(SeveralRow):
    """o1 -> o* -> o1 on one (s, r), eight times. The way back is made of the edit."""


def _state(trips: int) -> str:
    return f"{trips} trip{'s' if trips > 1 else ''}"


STATES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"0": (), "1": (0,), **{_state(trips): tuple(range(2 * trips)) for trips in TRIPS}}
)


def _distortion(trips: int) -> Compute:
    """Jensen-Shannon divergence of the true objects' normalised probabilities, before and after so many trips."""

    def compute(p: FactProbabilities) -> float | None:
        names = ("object", "other", "also")
        before, after = probabilities(p, names, "0"), probabilities(p, names, _state(trips))
        return None if before is None or after is None else jensen_shannon(before, after)

    return compute


def _alive(trips: int) -> Compute:
    """The share of the other true objects that keep half of their probability."""
    return lambda p: share_kept(p, "other", _state(trips), share=ALIVE)


def _survived(p: FactProbabilities) -> float | None:
    """The most trips after which, and after all fewer ones, half of the other true objects live."""
    survived = 0
    for trips in TRIPS:
        share = _alive(trips)(p)
        if share is None:
            return None
        if share < 0.5:
            break
        survived = trips
    return float(survived)


def _back(state: str) -> Compute:
    """The share of the points in time at which the true object is likelier than what is written in its place.

    In state 0 there is one, before any edit; in state 1 they are after the trips.
    """
    states = ["0"] if state == "0" else [_state(trips) for trips in TRIPS]

    def compute(p: FactProbabilities) -> float | None:
        won = [wins(("object", each), ("new_object", each))(p) for each in states]
        known = [each for each in won if each is not None]
        return sum(known) / len(states) if len(known) == len(states) else None

    return compute


def _after(trips: int) -> tuple[Metric, Metric, Metric]:
    state = _state(trips)
    return (
        Metric(
            name=f"trips_alive_{trips}",
            title=f"alive {trips}",
            higher_is_better=True,
            low=0.0,
            high=1.0,
            definition=f"share of the other true objects with p >= {ALIVE:g} p0 after {state}",
            source=NOT_PUBLISHED,
            compute=_alive(trips),
            question=f"How many of the other true objects keep half of their probability over {state}?",
        ),
        Metric(
            name=f"trips_distortion_{trips}",
            title=f"D {trips}",
            higher_is_better=False,
            low=0.0,
            high=math.log(2.0),
            definition="Jensen-Shannon divergence (nats) of the true objects' normalised probabilities, before any "
            f"edit against after {state}",
            source=f"{PAPER.format(section='2.3')}, there after one trip",
            compute=_distortion(trips),
            question=f"How far the true answers are out of proportion after {state}: 0 not at all.",
        ),
        Metric(
            name=f"trips_log_ratio_{trips}",
            title=f"ln p {trips}",
            higher_is_better=None,  # neither less nor more than before is what was there
            low=None,
            high=math.inf,
            definition=f"ln(p / p0) of the true object that is edited, after {state}, median over its prompts",
            source=NOT_PUBLISHED,
            compute=log_ratio("object", "0", state),
            question=f"By which factor the object that was brought back changed over {state}, as a logarithm.",
        ),
    )


class RoundTrips(Pitfall[RoundTripsRow]):
    """One program of sixteen edits: a state after k trips is the state after k - 1 trips, edited twice."""

    name = "round_trips"
    question = "When a fact is edited away and back again and again, for how many trips do the other true objects live?"
    topic = LIFELONG
    row = RoundTripsRow
    facts: ClassVar = MappingProxyType(
        {
            "object": FactWords("the true object that is edited away and back", "o1"),
            "new_object": FactWords("what every other edit writes in its place", "o*"),
            "other": FactWords("another true object, never edited", "other objects"),
            "also": FactWords("a true object that the model need not hold", in_story=False),
        }
    )
    written, replaced = "new_object", "object"
    metrics = (
        *edit_success(written, replaced),
        Metric(
            name="trips_survived",
            title="trips",
            higher_is_better=True,
            low=0.0,
            high=float(TRIPS[-1]),
            definition="the most trips, of 0, 1, 2, 4 and 8, up to which half of the other true objects have p >= "
            f"{ALIVE:g} p0",
            source=NOT_PUBLISHED,
            compute=_survived,
            question="For how many trips do the other true objects live?",
        ),
        *with_control(
            "trips_back",
            "back",
            _back,
            definition="share of 1, 2, 4 and 8 trips after which p(o1) > p(o*)",
            before="1 where p0(o1) > p0(o*), before any edit",
            asks_before="Is the true object likelier before any edit?",
            question="Does each trip bring the true object back?",
        ),
        *(metric for trips in TRIPS for metric in _after(trips)),
    )
    thresholds = ("trips_back >= 1", f"trips_alive_{TRIPS[-1]} >= 0.5")
    columns = ("es", "ps", "trips_survived", "trips_back", "trips_alive_1", "trips_alive_8", "trips_distortion_8")
    order = 30
    constructions: ClassVar = MappingProxyType({"round_trips": SeveralConstruction()})

    def program(self, case: Case, row: RoundTripsRow) -> Program:
        """Ask for all true objects before any edit and after 1, 2, 4 and 8 trips."""
        (away,) = row.edits
        back = Edit(away.relation, away.subject, away.new_object, away.object)
        ends = [_state(trips) for trips in TRIPS]
        probes = ask(case, "object", away.before, "0", "1", *ends) + ask(
            case, "new_object", away.after, "0", "1", *ends
        )
        for name, labels in (("other", row.others), ("also", row.also_true)):
            for place, label in enumerate(labels):
                probes += ask(case, f"{name}:{place}", row.about(label), "0", *ends)
        return program_of(case, [away, back] * TRIPS[-1], probes, STATES)

    def steps_in_words(self, row: RoundTripsRow, multi_label: bool) -> list[tuple[Edit, str, str]]:
        """Return one trip: the others are the same."""
        (away,) = row.edits
        return [(away, away.object, away.new_object), (away, away.new_object, away.object)]
