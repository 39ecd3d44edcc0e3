"""What a build is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.options.defaults import DEFAULT_GROUP
from pytest_editpitfalls.pitfalls import PITFALLS
from pytest_editpitfalls.pitfalls._construction import Construction
from pytest_editpitfalls.program import Score

SCORES: tuple[Score, ...] = ("mean", "sum")
"""The scores by which the true object can be the likeliest: per token, and of the whole object."""


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """Which suites are built, how large, and what a case has to meet.

    Attributes:
        suites: names of suites that can be built (`plans`).
        cases: cases in each suite.
        seed: seed of all draws.
        scores: by which the model has to hold a fact.
        paraphrases: on which share of the relation's paraphrases, besides the rewrite prompt.
        per_fact: cases with the same fact replaced by edit 1.
        per_subject: cases with the same subject of edit 1, other facts of it included.
        per_object: share of a suite's cases with the same object replaced by edit 1.
        per_target: share of a suite's cases in which the same object is written.
        per_group: share of a suite's cases that a rule or relation may fill.
        token_difference: how many tokens the new object may be longer or shorter than the old one.
        depth: share of the model's blocks after which objects are compared for easy and hard.
    """

    suites: tuple[str, ...]
    cases: int = 600
    seed: int = 0
    scores: tuple[Score, ...] = SCORES
    paraphrases: float = 0.5
    per_fact: int = 4
    per_subject: int = 8
    per_object: float = 0.05
    per_target: float = 0.02
    per_group: float = 0.2
    token_difference: int = 1
    depth: float = 2 / 3

    def __post_init__(self) -> None:
        if not self.suites:
            raise UsageError("no suite is named", where="--suites", fix=f"name some of {', '.join(plans())}")
        for name in self.suites:
            if name not in plans():
                raise UsageError(
                    f"there is no way to build a suite '{name}'",
                    where="--suites",
                    fix=did_you_mean(name, [*plans(), *plan_groups()]),
                )
        for score in self.scores:
            if score not in SCORES:
                raise UsageError(f"unknown score '{score}'", where="--held-scores", fix=did_you_mean(score, SCORES))
        if not self.scores:
            raise UsageError("there is no score to hold facts by", where="--held-scores", fix="give mean, sum or both")
        if not 0 <= self.paraphrases <= 1:
            raise UsageError(
                f"{self.paraphrases} is no share", where="--held-paraphrases", fix="give a number from 0 to 1"
            )
        if self.cases < 1:
            raise UsageError(f"{self.cases} cases are no suite", where="--cases", fix="give 1 or more")

    def at_most(self, share: float) -> int:
        """Return a share of a suite's cases, as a number of them."""
        return max(1, round(share * self.cases))


@dataclass(frozen=True, slots=True)
class Plan:
    """How a suite is built.

    Attributes:
        name: of the suite.
        kind: of pitfall.
        topic: of the kind: the group that its suites are in.
        construction: how its cases are made.
    """

    name: str
    kind: str
    topic: str
    construction: Construction


@cache
def plans() -> Mapping[str, Plan]:
    """Return the suites that can be built, in the order of their kinds."""
    return {
        name: Plan(name, pitfall.name, pitfall.topic.name, construction)
        for pitfall in sorted(PITFALLS, key=lambda pitfall: (pitfall.order, pitfall.name))
        for name, construction in pitfall.constructions.items()
    }


def plan_groups() -> dict[str, tuple[str, ...]]:
    """Return the names for several suites at once: the topics of their kinds, "default" and "all"."""
    groups: dict[str, tuple[str, ...]] = {}
    for plan in plans().values():
        groups[plan.topic] = (*groups.get(plan.topic, ()), plan.name)
    unasked = tuple(name for name, plan in plans().items() if plan.construction.default)
    return {**groups, DEFAULT_GROUP: unasked, "all": tuple(plans())}
