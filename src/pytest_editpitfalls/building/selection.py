"""Which cases a suite gets: the best known facts that the model holds, rule by rule, until the quotas are full."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_editpitfalls.knowledge import DOMINANCE, Knowledge, KnownFact, Thing
from pytest_editpitfalls.knowledge.facts import plain
from pytest_editpitfalls.pitfalls._construction import Candidate, Group, NoTarget
from pytest_editpitfalls.program import HeldAnswer, Score
from pytest_editpitfalls.suites.readers.own_format import MAX_OBJECTS

from .asking import Asked
from .closeness import Closeness, Gap, gap, on_side
from .leaks import leak_of
from .settings import BuildSettings, Plan
from .targets import Targets
from .wordings import Wordings


@dataclass(frozen=True, slots=True)
class BuiltCase:
    """A case that was chosen.

    Attributes:
        row: what its line says, without its id.
        candidate: what it was made of.
        answers: what the model said to each fact that it has to hold.
    """

    row: Mapping[str, Any]
    candidate: Candidate
    answers: Mapping[str, HeldAnswer]


@dataclass(slots=True)
class GroupCount:
    """How the candidates of one rule or relation fared.

    Attributes:
        group: the rule or relation.
        candidates: how many cases the facts would allow.
        asked: for how many of them the model was asked.
        asked_by_score: for how many of these, the best known ones, it was found out for each score.
        held_by_mean, held_by_sum: for how many of the latter every fact that was asked won by this score on the rewrite
            prompt.
        held: how many of them the model holds by the definition of the build.
        refused: reason -> how many were refused for it.
        chosen: how many became cases.
    """

    group: Group
    candidates: int = 0
    asked: int = 0
    asked_by_score: int = 0
    held_by_mean: int = 0
    held_by_sum: int = 0
    held: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    chosen: int = 0


@dataclass(slots=True)
class BuiltSuite:
    """The cases of a suite, and how they were found."""

    plan: Plan
    cases: list[BuiltCase]
    counts: list[GroupCount]
    gaps: list[Gap] = field(default_factory=list)


CHUNK = 16
"""Candidates of a group that are asked together: more are asked in vain where the group needs few."""

BY_SCORE = 32
"""Candidates of a group of which it is found out by which score they are held: a rate for the datasheet.

Of the others a search ends with the first score that is lost."""

PATIENCE = 128
"""A group is left where so many candidates in a row are not held: what is less known is held less."""

HALVES = 3.0
"""Held candidates that are looked for, for each case of a half: two halves, and some that are refused later."""

POOL = 4
"""At most so many times as many candidates are asked for them."""

Held = tuple[Candidate, Mapping[str, HeldAnswer]]
Shared = Callable[[str, Candidate], bool]
"""Whether a suite may use a candidate's edited fact: no two suites replace the same one."""


class Selection:
    """Chooses the cases of one suite."""

    def __init__(
        self,
        plan: Plan,
        knowledge: Knowledge,
        wordings: Wordings,
        asked: Asked,
        settings: BuildSettings,
        may_use: Shared,
        closeness: Closeness,
        report: Callable[[str, int, int], None] = lambda suite, chosen, wanted: None,
    ) -> None:
        self._plan = plan
        self._knowledge = knowledge
        self._wordings = wordings
        self._asked = asked
        self._settings = settings
        self._may_use = may_use
        self._closeness = closeness
        self._report = report
        self._homonyms = knowledge.homonyms(dominance=DOMINANCE)
        construction = plan.construction
        self._targets = Targets(
            knowledge, settings, asked, plan.name, self._homonyms, construction.edits_of_all, self._leaks_with
        )
        self._chosen: dict[str, list[BuiltCase]] = {}
        self._facts: Counter[str] = Counter()
        self._subjects: Counter[str] = Counter()
        self._objects: Counter[str] = Counter()
        self._measured: dict[str, tuple[list[Candidate], dict[str, float]]] = {}

    def run(self) -> BuiltSuite:
        """Choose: every rule in turn, until the suite is full or nothing is left."""
        counts, waiting = {}, {}
        for group in self._plan.construction.groups(self._knowledge):
            count = counts[group.name] = GroupCount(group)
            waiting[group.name] = self._held(group, count)
            self._chosen[group.name] = []
        most = self._settings.at_most(self._settings.per_group)
        level = 0
        while waiting and self._total < self._settings.cases:
            # Everybody gets as many as are there for everybody; who has no more leaves the rest to the others.
            level = min(most, level + max(1, (self._settings.cases - self._total) // len(waiting)))
            for name in list(waiting):
                while len(self._chosen[name]) < level and self._total < self._settings.cases:
                    case = next(waiting[name], None)
                    if case is None:
                        del waiting[name]
                        break
                    self._chosen[name].append(case)
                    self._report(self._plan.name, self._total, self._settings.cases)
                else:
                    if len(self._chosen[name]) >= most:
                        del waiting[name]
        for name, count in counts.items():
            count.chosen = len(self._chosen[name])
        cases = [case for name in counts for case in self._chosen[name]]
        return BuiltSuite(self._plan, cases, list(counts.values()), self._gaps())

    @property
    def _total(self) -> int:
        return sum(map(len, self._chosen.values()))

    def _held(self, group: Group, count: GroupCount) -> Iterator[BuiltCase]:
        """Give cases of a group one by one; the model is asked only as far as they are taken."""
        candidates = self._ordered(group, count)
        held = (
            self._half_of(group, candidates, count)
            if self._plan.construction.half
            else self._one_by_one(candidates, count)
        )
        for candidate, answers in held:
            if self._has_room(candidate, count):
                with_some = self._with_some(candidate, answers, count)
                case = None if with_some is None else self._case(*with_some, count)
                if case is not None:
                    yield case

    def _one_by_one(self, candidates: list[Candidate], count: GroupCount) -> Iterator[Held]:
        misses = 0
        for start in range(0, len(candidates), CHUNK):
            if misses >= PATIENCE:
                count.refused[f"not asked, after {PATIENCE} better known ones in a row that are not held"] += (
                    len(candidates) - start
                )
                return
            part = [each for each in candidates[start : start + CHUNK] if self._has_room(each, count)]
            answers = self._answers(part, count)
            misses = 0 if answers else misses + len(part)
            yield from ((each, answers[each.key]) for each in part if each.key in answers)

    def _half_of(self, group: Group, candidates: list[Candidate], count: GroupCount) -> list[Held]:
        """The held candidates on the suite's side of the median. Both suites of a pair see the same candidates."""
        groups = len(list(self._plan.construction.groups(self._knowledge)))
        wanted = math.ceil(HALVES * self._settings.cases / groups)
        subjects: Counter[str] = Counter()
        pool = []
        for candidate in candidates:
            subjects[candidate.edited.subject] += 1
            if subjects[candidate.edited.subject] <= self._settings.per_subject:
                pool.append(candidate)
        answers: dict[str, dict[str, HeldAnswer]] = {}
        misses = 0
        for start in range(0, min(len(pool), POOL * wanted), CHUNK):
            if len(answers) >= wanted or misses >= PATIENCE:
                break
            found = self._answers(pool[start : start + CHUNK], count)
            misses = 0 if found else misses + CHUNK
            answers.update(found)
        held = [each for each in pool if each.key in answers]
        closeness = self._closeness.of(held)
        self._measured[group.name] = held, closeness
        return [(each, answers[each.key]) for each in on_side(self._plan.construction.half, closeness, held)]

    def _gaps(self) -> list[Gap]:
        return [
            gap(chosen[0].candidate.group.relation, closeness, held, [case.candidate for case in chosen])
            for name, (held, closeness) in self._measured.items()
            if (chosen := self._chosen[name])
        ]

    def _ordered(self, group: Group, count: GroupCount) -> list[Candidate]:
        """The candidates that leak nothing, the best known first; equally known ones in an order of the seed."""
        kept = []
        for candidate in self._plan.construction.candidates(self._knowledge, group):
            count.candidates += 1
            if not self._may_use(self._plan.name, candidate):
                count.refused["the fact is another suite's"] += 1
            elif reason := self._unfit(candidate):
                count.refused[reason] += 1
            else:
                kept.append(candidate)
        return sorted(kept, key=lambda candidate: (-candidate.popularity, self._number(candidate), candidate.key))

    def _number(self, candidate: Candidate) -> bytes:
        return hashlib.sha256(f"{self._settings.seed}/{self._plan.kind}/{candidate.key}".encode()).digest()

    def _unfit(self, candidate: Candidate) -> str | None:
        for name, fact in candidate.held.items():
            labels = [fact.object, *(other.object for other in candidate.others.get(name, ()))]
            if reason := self._leak(fact, labels):
                return reason
        return None

    def _leak(self, fact: KnownFact, labels: list[str]) -> str | None:
        if fact.subject in self._homonyms:
            return "the subject's name is that of several things"
        return leak_of(self._wordings.of(fact), fact.subject, labels)

    def _leaks_with(self, fact: KnownFact, thing: Thing) -> bool:
        return leak_of(self._wordings.of(fact), fact.of.in_text, [fact.to.in_text, thing.in_text]) is not None

    def _has_room(self, candidate: Candidate, count: GroupCount) -> bool:
        fact = candidate.edited
        full = {
            "the fact is in enough cases": self._facts[_key(fact)] >= self._settings.per_fact,
            "the subject is in enough cases": self._subjects[plain(fact.subject)] >= self._settings.per_subject,
            "the object is in enough cases": self._objects[plain(fact.object)]
            >= self._settings.at_most(self._settings.per_object),
        }
        reason = next((reason for reason, is_full in full.items() if is_full), None)
        if reason is not None:
            count.refused[reason] += 1
        return reason is None

    def _answers(self, candidates: list[Candidate], count: GroupCount) -> dict[str, dict[str, HeldAnswer]]:
        """The answers to the facts of the candidates that the model holds, by their keys.

        A case's second fact is asked only where its first is held.
        """
        by_score = count.asked < BY_SCORE
        count.asked += len(candidates)
        held = {each.key: each for each in candidates}
        answers: dict[str, dict[str, HeldAnswer]] = {key: {} for key in held}
        for place in range(max((len(each.held) for each in candidates), default=0)):
            asked = [(key, *tuple(each.held.items())[place]) for key, each in held.items() if place < len(each.held)]
            questions = [self._wordings.question(name, fact) for _, name, fact in asked]
            found = self._asked.held(questions, each_score=by_score)
            for (key, name, _), answer in zip(asked, found, strict=True):
                answers[key][name] = answer
                if not answer.holds:
                    del held[key]
        if by_score:
            count.asked_by_score += len(candidates)
            count.held_by_mean += sum(_wins(each, "mean") for each in answers.values())
            count.held_by_sum += sum(_wins(each, "sum") for each in answers.values())
        count.held += len(held)
        count.refused["the model does not hold it"] += len(candidates) - len(held)
        return {key: answers[key] for key in held}

    def _with_some(self, candidate: Candidate, answers: Mapping[str, HeldAnswer], count: GroupCount) -> Held | None:
        """The candidate with those of its further facts that are held, and the answers to all; None: too few are."""
        kept: list[tuple[KnownFact, HeldAnswer]] = []
        usable = [
            fact for fact in candidate.some if self._leak(fact, [fact.object]) is None and self._can_be_listed(fact)
        ]
        step = 2 * candidate.most
        for start in range(0, len(usable), step):
            part = usable[start : start + step]
            found = self._asked.held([self._wordings.question("some", fact) for fact in part], each_score=False)
            kept += [pair for pair in zip(part, found, strict=True) if pair[1].holds]
            if len(kept) >= candidate.most:
                break
        if candidate.some and len(kept) < candidate.least:
            count.refused["too few of the facts beside it are held"] += 1
            return None
        kept = kept[: candidate.most]
        more = {f"some:{place}": answer for place, (_, answer) in enumerate(kept)}
        return replace(candidate, some=tuple(fact for fact, _ in kept)), {**answers, **more}

    def _can_be_listed(self, fact: KnownFact) -> bool:
        return len(self._wordings.objects(fact.relation)) <= MAX_OBJECTS

    def _case(self, candidate: Candidate, answers: Mapping[str, HeldAnswer], count: GroupCount) -> BuiltCase | None:
        try:
            row = self._plan.construction.row(self._knowledge, candidate, self._targets.drawing(candidate))
        except NoTarget as error:
            count.refused[str(error)] += 1
            return None
        if reason := self._leak_of_row(row):
            count.refused[reason] += 1
            return None
        fact = candidate.edited
        self._facts[_key(fact)] += 1
        self._subjects[plain(fact.subject)] += 1
        self._objects[plain(fact.object)] += 1
        self._targets.use([edit["new_object"] for edit in row["edits"]])
        strength = {} if candidate.group.strength == "strict" else {"strength": candidate.group.strength}
        return BuiltCase({"rule": candidate.group.name, **strength, **row}, candidate, answers)

    def _leak_of_row(self, row: Mapping[str, Any]) -> str | None:
        """What in the finished case gives an old or new object away."""
        for edit in row["edits"]:
            relation = self._wordings[edit["relation"]]
            if leak := leak_of(relation, edit["subject"], [edit["object"], edit["new_object"]]):
                return f"with its new objects, {leak}"
        return None


def _wins(answers: Mapping[str, HeldAnswer], score: Score) -> bool:
    """Whether every fact that was asked wins by a score after the rewrite prompt."""
    return all(answer.wins.get(score, False) for answer in answers.values())


def _key(fact: KnownFact) -> str:
    return f"{fact.relation}|{plain(fact.subject)}|{plain(fact.object)}"
