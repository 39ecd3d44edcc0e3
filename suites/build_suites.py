"""Build the case files of the shipped suites: a maintenance tool, not part of the package.

    python suites/build_suites.py --model DIR            write reverse.jsonl, composite.jsonl, ...
    python suites/build_suites.py --model DIR --check    only check that every shipped case is held

It reads ``facts.jsonl`` (what is true), ``relations.toml`` (prompts) and ``rules.toml`` (which relations
imply which), keeps the facts that the model *holds*, and writes one ``.jsonl`` file per suite. Two runs with
the same model give the same files. DIR is a Hugging Face model directory.

A fact is held when its object is the likeliest among the relation's objects: with
``score(o) = exp(mean log p(token of o | rewrite prompt, earlier tokens of o))``, prompt and object joined by
one space, ``score(o1)`` must exceed the score of every other object of that relation in the suite's base
facts. Here it has to do so by `MARGIN` (in log), so that another thread count or attention kernel gives the
same answer. For the round suites the other true objects of the subject do not compete.

easy and hard: the *closeness* of an object o1 to its siblings (the other true objects of its subject) is the
cosine between its vector and the mean of the siblings' vectors. The vector of an object is the mean over its
tokens of the hidden state after block 20 when the model reads the rewrite prompt and the object,
minus the mean of such vectors over all objects of the relation. Within a relation, held objects closer than
the median are easy, the others hard.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
SUITES = ("reverse", "composite", "coverage", "easy", "hard")
MARGIN = 0.02
Rule = dict[str, Any]
Case = dict[str, Any]


@dataclass(frozen=True)
class Fact:
    """What is true of a subject: ``objects`` (the first is the one that the conflict suites edit).

    ``kind`` is the subject's type; targets come from facts of the same kind. ``never`` lists objects that are
    no target although they are not listed as true (disputed or nearly true). ``targets`` replaces the kind's
    pool.
    """

    relation: str
    kind: str
    subject: str
    objects: tuple[str, ...]
    never: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()

    def forbids(self, label: str) -> bool:
        """Whether ``label`` may not be a target: it is true, nearly true, or the subject itself."""
        return label in self.objects or label in self.never or label == self.subject


class Facts:
    """All facts, by relation and subject."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self.of: dict[str, dict[str, Fact]] = {}
        for fact in facts:
            known = self.of.setdefault(fact.relation, {})
            if fact.subject in known:
                raise SystemExit(f"facts.jsonl: {fact.relation} of '{fact.subject}' is given twice; merge the lines")
            known[fact.subject] = fact

    @classmethod
    def read(cls, path: Path) -> Facts:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return cls(
            Fact(
                row["relation"],
                row["kind"],
                row["subject"],
                tuple(row["objects"]),
                tuple(row.get("never", ())),
                tuple(row.get("targets", ())),
            )
            for row in rows
        )

    def objects(self, relation: str, kind: str | None = None) -> list[str]:
        """Distinct objects of a relation (of subjects of one kind), in file order."""
        chosen = (f for f in self.of[relation].values() if kind is None or f.kind == kind)
        return list(dict.fromkeys(label for fact in chosen for label in fact.objects))

    def labels(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Relation to subject to objects."""
        return {r: {s: fact.objects for s, fact in known.items()} for r, known in self.of.items()}

    def subjects(self, relation: str, kind: str) -> list[str]:
        return [f.subject for f in self.of[relation].values() if f.kind == kind]


class Scorer(Protocol):
    """What the builder asks of a model."""

    def logprob(self, relation: str, subject: str, label: str) -> float:
        """Mean log-probability of the tokens of ``label`` after the relation's rewrite prompt."""

    def closeness(self, relation: str, subject: str, label: str) -> float:
        """Cosine of the object to the mean of its siblings (module docstring)."""


@dataclass
class Candidate:
    """A possible case: its base facts (edit 1's first) before targets are drawn."""

    rule: Rule
    fact: Fact
    object: str
    tied: Fact | None = None
    conclusion: Fact | None = None
    base: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.base = [(self.fact.relation, self.fact.subject, self.object)]
        if self.tied is not None:
            self.base.append((self.tied.relation, self.tied.subject, self.tied.objects[0]))


class Selection:
    """Cases chosen so far, and the objects of each relation that they make compete."""

    def __init__(self, scorer: Scorer, facts: Facts, is_round: bool) -> None:
        self.scorer = scorer
        self.facts = facts
        self.is_round = is_round
        self.chosen: list[Candidate] = []

    def rivals(self, relation: str, candidates: Iterable[Candidate]) -> set[str]:
        labels: set[str] = set()
        for candidate in candidates:
            for base_relation, subject, label in candidate.base:
                if base_relation == relation:
                    # In the round suites every true object competes with the other cases' objects: stricter
                    # than the rule asks for, so that the check passes however base facts are collected.
                    labels.update(self.facts.of[relation][subject].objects if self.is_round else (label,))
        return labels

    def holds(self, candidate: Candidate, pool: Iterable[Candidate]) -> bool:
        pool = [*pool, candidate]
        for relation, subject, label in candidate.base:
            true = set(self.facts.of[relation][subject].objects) if self.is_round else {label}
            score = self.scorer.logprob(relation, subject, label)
            for rival in self.rivals(relation, pool) - true:
                if self.scorer.logprob(relation, subject, rival) > score - MARGIN:
                    return False
        return True

    def try_add(self, candidate: Candidate) -> bool:
        """Add a case if it is held and leaves every chosen case held."""
        grown = [*self.chosen, candidate]
        touched = {relation for relation, _, _ in candidate.base}
        concerned = [c for c in self.chosen if touched & {relation for relation, _, _ in c.base}]
        if all(self.holds(c, grown) for c in [candidate, *concerned]):
            self.chosen = grown
            return True
        return False


def candidates_of(rule: Rule, suite: str, facts: Facts) -> list[Candidate]:
    """Every case that the facts allow for one rule."""
    first: str = rule["first"]
    found = []
    for fact in facts.of[first].values():
        if fact.kind != rule["kind"]:
            continue
        if suite in ("easy", "hard"):
            if 2 <= len(fact.objects) <= 10:
                found += [Candidate(rule, fact, label) for label in fact.objects]
        elif suite == "composite":
            for tied in facts.of[rule["tied"]].values():
                conclusion = facts.of[rule["second"]].get(tied.subject)
                if (
                    tied.kind == rule["tied_kind"]
                    and tied.objects[0] == fact.subject
                    and conclusion is not None
                    and fact.objects[0] in conclusion.objects
                ):
                    found.append(Candidate(rule, fact, fact.objects[0], tied, conclusion))
        else:
            found.append(Candidate(rule, fact, fact.objects[0]))
    # "ice cream": cream. An answer inside the question is no knowledge.
    return [c for c in found if not any(f" {label} " in f" {subject} " for _, subject, label in c.base)]


def spread(candidates: list[Candidate], rng: random.Random) -> list[Candidate]:
    """Shuffle, then take turns over subjects and objects, so that none of them fills the suite."""
    shuffled = sorted(candidates, key=lambda c: (c.object, c.base))
    rng.shuffle(shuffled)
    turn: dict[str, int] = {}
    again: dict[str, int] = {}
    keyed = []
    for position, candidate in enumerate(shuffled):
        repeat = again[candidate.fact.subject] = again.get(candidate.fact.subject, -1) + 1
        round_of = turn[candidate.object] = turn.get(candidate.object, -1) + 1
        keyed.append((repeat, round_of, position, candidate))
    return [candidate for *_, candidate in sorted(keyed, key=lambda item: item[:3])]


def halves(candidates: list[Candidate], suite: str, scorer: Scorer) -> list[Candidate]:
    """The easy or the hard half of a relation's held candidates, most typical first."""
    close = {id(c): scorer.closeness(c.fact.relation, c.fact.subject, c.object) for c in candidates}
    median = statistics.median(close.values())
    if suite == "easy":
        kept = [c for c in candidates if close[id(c)] > median]
        return sorted(kept, key=lambda c: -close[id(c)])
    kept = [c for c in candidates if close[id(c)] < median]
    return sorted(kept, key=lambda c: close[id(c)])


def select(suite: str, rules: list[dict[str, Any]], facts: Facts, scorer: Scorer, seed: int) -> list[Candidate]:
    """Choose the cases of a suite; every chosen case is held among the chosen cases."""
    selection = Selection(scorer, facts, suite in ("easy", "hard"))
    for rule in rules:
        rng = random.Random(f"{seed}/{suite}/{rule['id']}")
        candidates = candidates_of(rule, suite, facts)
        # Facts that win against everything come first; then those that win among what was chosen.
        strong = [c for c in candidates if selection.holds(c, candidates)]
        if suite in ("easy", "hard"):
            order = halves(strong, suite, scorer)
            order = [*one_each(order), *(c for c in order if c not in one_each(order))]
        else:
            weak = [c for c in candidates if c not in strong]
            order = [*spread(strong, rng), *spread(weak, rng)]
        taken = 0
        objects: dict[str, int] = {}
        for candidate in order:
            if taken == rule["cases"]:
                break
            if objects.get(candidate.object, 0) < rule.get("per_object", 4) and selection.try_add(candidate):
                objects[candidate.object] = objects.get(candidate.object, 0) + 1
                taken += 1
    # Cases without any rival are left out: of those, "held" would ask nothing.
    chosen = selection.chosen
    while alone := [c for c in chosen if not has_rivals(c, chosen, facts)]:
        chosen = [c for c in chosen if c not in alone]
    return chosen


def has_rivals(candidate: Candidate, chosen: list[Candidate], facts: Facts) -> bool:
    """Whether every base fact of a case competes with an object that is false for its subject."""
    return all(
        any(
            other not in facts.of[relation][subject].objects
            for case in chosen
            for other_relation, _, other in case.base
            if other_relation == relation
        )
        for relation, subject, _ in candidate.base
    )


def one_each(candidates: list[Candidate]) -> list[Candidate]:
    """The first candidate of every subject."""
    return list({c.fact.subject: c for c in reversed(candidates)}.values())[::-1]


def draw(rng: random.Random, labels: Iterable[str], what: str) -> str:
    choices = sorted(set(labels))
    if not choices:
        raise SystemExit(f"no target left for {what}: add facts of the same kind, or targets, to facts.jsonl")
    return rng.choice(choices)


def edit(relation: str, subject: str, old: str, new: str) -> dict[str, str]:
    return {"relation": relation, "subject": subject, "object": old, "new_object": new}


def compose(suite: str, candidate: Candidate, facts: Facts, seed: int) -> Case:
    """Draw the targets of one case: same type as the object, never true of the subject."""
    rule, fact, old = candidate.rule, candidate.fact, candidate.object
    rng = random.Random(f"{seed}/{suite}/{rule['id']}/{candidate.base}")
    pool = fact.targets or facts.objects(fact.relation, fact.kind)
    where = f"{rule['id']}, {fact.subject}"
    options = [label for label in pool if not fact.forbids(label)]
    case: Case = {"id": "", "rule": rule["id"]}
    if suite == "reverse":
        # The new object is the subject of edit 2, so it must be able to carry the inverse relation.
        options = [o for o in options if o in facts.of[rule["second"]]] or options
        new = draw(rng, options, where)
        inverse = facts.of[rule["second"]].get(new)
        others = [
            s
            for s in facts.subjects(fact.relation, fact.kind)
            if s != fact.subject
            and not facts.of[fact.relation][s].forbids(new)
            and not (inverse is not None and inverse.forbids(s))
        ]
        other = draw(rng, others, where)
        case["edits"] = [
            edit(fact.relation, fact.subject, old, new),
            edit(rule["second"], new, fact.subject, other),
        ]
    elif suite == "composite":
        assert candidate.tied is not None
        assert candidate.conclusion is not None
        tied, conclusion = candidate.tied, candidate.conclusion
        new = draw(rng, options, where)
        third = draw(rng, (o for o in options if o != new and not conclusion.forbids(o)), where)
        case["edits"] = [
            edit(fact.relation, fact.subject, old, new),
            edit(rule["second"], tied.subject, old, third),
        ]
        case["tied"] = {"relation": tied.relation, "subject": tied.subject, "object": tied.objects[0]}
    elif suite == "coverage":
        new = draw(rng, options, where)
        third = draw(rng, (o for o in options if o != new), where)
        case["edits"] = [
            edit(fact.relation, fact.subject, old, new),
            edit(fact.relation, fact.subject, new, third),
        ]
    else:
        case["edits"] = [edit(fact.relation, fact.subject, old, draw(rng, options, where))]
        case["true_objects"] = list(fact.objects)
    return case


def build(suite: str, rules: list[Rule], facts: Facts, scorer: Scorer, seed: int) -> list[Case]:
    """All cases of a suite, in the order of the rules, numbered per relation."""
    numbers: dict[str, int] = {}
    cases = []
    for candidate in select(suite, rules, facts, scorer, seed):
        case = compose(suite, candidate, facts, seed)
        number = numbers[candidate.fact.relation] = numbers.get(candidate.fact.relation, 0) + 1
        case["id"] = f"{candidate.fact.relation}-{number:04d}"
        cases.append(case)
    return cases


def base_facts(case: Case) -> list[tuple[str, str, str]]:
    """Edit 1's fact, and the tied fact of a composite case: (relation, subject, object)."""
    facts = [case["edits"][0], *([case["tied"]] if "tied" in case else [])]
    return [(f["relation"], f["subject"], f["object"]) for f in facts]


def not_held(cases: list[Case], scorer: Scorer) -> list[str]:
    """Ids of the cases that are not held, by the rule that the plugin applies at run time.

    A case whose object has no rival at all counts as not held: nothing would be asked.
    """
    objects: dict[str, set[str]] = {}
    for case in cases:
        for relation, _, label in base_facts(case):
            objects.setdefault(relation, set()).add(label)
    wrong = []
    for case in cases:
        for relation, subject, label in base_facts(case):
            true = {label, *case.get("true_objects", ())}
            rivals = [scorer.logprob(relation, subject, o) for o in objects[relation] - true]
            if not rivals or max(rivals) >= scorer.logprob(relation, subject, label):
                wrong.append(case["id"])
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the case files of the shipped suites.")
    parser.add_argument("--model", required=True, help="Hugging Face model directory")
    parser.add_argument("--seed", type=int, default=0, help="seed of the draws (default: 0)")
    parser.add_argument("--suite", choices=SUITES, action="append", help="only this suite (repeatable)")
    parser.add_argument("--check", action="store_true", help="write nothing; check the files that are there")
    options = parser.parse_args()

    # Here, not above: torch is needed to build the suites, not to read this module.
    from build_scorer import ModelScorer

    facts = Facts.read(HERE / "facts.jsonl")
    relations = tomllib.loads((HERE / "relations.toml").read_text(encoding="utf-8"))
    rules = tomllib.loads((HERE / "rules.toml").read_text(encoding="utf-8"))["rule"]
    scorer = ModelScorer(options.model, relations, facts.labels())
    status = 0
    for suite in options.suite or SUITES:
        path = HERE / f"{suite}.jsonl"
        if options.check:
            cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        else:
            mine = [rule for rule in rules if suite in rule["suites"]]
            cases = build(suite, mine, facts, scorer, options.seed)
            lines = [json.dumps(case, ensure_ascii=False) + "\n" for case in cases]
            path.write_text("".join(lines), encoding="utf-8")
        counts: dict[str, int] = {}
        for case in cases:
            counts[case["rule"]] = counts.get(case["rule"], 0) + 1
        wrong = not_held(cases, scorer)
        print(f"{suite}: {len(cases)} cases, {len(wrong)} not held {wrong}; {counts}")
        status |= bool(wrong)
    return status


if __name__ == "__main__":
    sys.exit(main())
