"""Which suite may edit which fact: no two suites of a build replace the same one.

A fact that several suites could use belongs to one of them by the digest of the fact alone. So a further fact, or
another number of cases, moves no fact from one suite to another. Suites that are halves of one another divide their
facts by closeness, not here.
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
        self._claims: dict[str, list[tuple[str, int]]] = {}
        for plan in plans:
            owner = self._owner(plan)
            for group in plan.construction.groups(knowledge):
                claims = self._claims.setdefault(group.relation, [])
                if owner not in (name for name, _ in claims):
                    claims.append((owner, plan.construction.share))
        self._owners = {plan.name: self._owner(plan) for plan in plans}

    def may_use(self, suite: str, candidate: Candidate) -> bool:
        """Whether the fact that a candidate edits belongs to this suite."""
        fact = candidate.edited
        claims = self._claims[fact.relation]
        text = f"{self._seed}/{fact.relation}/{plain(fact.subject)}/{plain(fact.object)}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % sum(share for _, share in claims)
        for owner, share in claims:
            number -= share
            if number < 0:
                return owner == self._owners[suite]
        raise AssertionError("the shares add up")

    @staticmethod
    def _owner(plan: Plan) -> str:
        return plan.kind if plan.construction.half else plan.name
