"""Which suite may edit which fact: no two suites of a build replace the same one.

A fact of which several suites could make a case belongs to one of them, by the digest of the fact. So another number of
cases moves no fact from one suite to another, and a further fact moves only what it gives another suite a use for.
Suites that are halves of one another divide their facts by closeness, not here. A suite without a share may
edit any fact, whichever other suite does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pytest_editpitfalls.knowledge import Knowledge
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.pitfalls._construction import Candidate

from .settings import BuildSettings, Plan


class Sharing:
    """Divides the facts among the suites that could use them."""

    def __init__(self, plans: Sequence[Plan], knowledge: Knowledge, settings: BuildSettings) -> None:
        self._seed = settings.seed
        self._claims: dict[str, dict[str, int]] = {}
        for plan in plans:
            if not plan.construction.share:
                continue
            owner = self._owner(plan)
            for group in plan.construction.groups(knowledge):
                for candidate in plan.construction.candidates(knowledge, group):
                    self._claims.setdefault(_fact(candidate), {})[owner] = plan.construction.share
        self._owners = {plan.name: self._owner(plan) for plan in plans if plan.construction.share}

    def may_use(self, suite: str, candidate: Candidate) -> bool:
        """Whether the fact that a candidate edits belongs to this suite, or the suite may edit any."""
        if suite not in self._owners:
            return True
        fact = _fact(candidate)
        claims = self._claims[fact]
        digest = hashlib.sha256(f"{self._seed}/{fact}".encode()).digest()
        number = int.from_bytes(digest[:8], "big") % sum(claims.values())
        for owner, share in claims.items():
            number -= share
            if number < 0:
                return owner == self._owners[suite]
        raise AssertionError("the shares add up")

    @staticmethod
    def _owner(plan: Plan) -> str:
        return plan.kind if plan.construction.half else plan.name


def _fact(candidate: Candidate) -> str:
    """What edit 1 of a candidate replaces."""
    fact = candidate.edited
    return f"{fact.relation}/{plain(fact.subject)}/{plain(fact.object)}"
