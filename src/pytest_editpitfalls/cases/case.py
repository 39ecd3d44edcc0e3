"""What is asked: facts, the edits of a case, and the relations that put them into words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal["reverse", "composite", "coverage", "round"]
"""The protocols of the pitfalls benchmark: three of knowledge conflict, one (round) of distortion."""

KINDS: tuple[Kind, ...] = get_args(Kind)
CONFLICT_KINDS: tuple[Kind, ...] = ("reverse", "composite", "coverage")


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation and the prompts that ask for its object.

    Attributes:
        id: relation id ("P36").
        prompt: the rewrite prompt; its first ``{}`` stands for the subject.
        paraphrases: further prompts of the same form, in file order, duplicates included.
        label: the relation's name in words, or "".
        query: the relation as a question, or "".
    """

    id: str
    prompt: str
    paraphrases: tuple[str, ...]
    label: str = ""
    query: str = ""

    def questions(self, subject: str) -> tuple[str, ...]:
        """Return all prompts with ``subject`` in place: the rewrite prompt first, then the paraphrases."""
        return tuple(fill(prompt, subject) for prompt in (self.prompt, *self.paraphrases))


def fill(prompt: str, subject: str) -> str:
    """Put ``subject`` into the first ``{}`` of ``prompt``; braces in the subject stay as they are."""
    return prompt.replace("{}", subject, 1)


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact (subject, relation, object); ``relation`` is a relation id, the others are labels."""

    relation: str
    subject: str
    object: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit: the object of (subject, relation) is changed from ``object`` to ``new_object``."""

    relation: str
    subject: str
    object: str
    new_object: str

    @property
    def before(self) -> Fact:
        """The fact that the edit replaces."""
        return Fact(self.relation, self.subject, self.object)

    @property
    def after(self) -> Fact:
        """The fact that the edit writes."""
        return Fact(self.relation, self.subject, self.new_object)


@dataclass(frozen=True, slots=True)
class HeldFact:
    """A fact that the case takes for granted in the base model.

    Attributes:
        fact: the fact; the model holds it when its object is likelier than every candidate.
        candidates: objects of the same relation that are not true for this subject, in file order, at most
            32.
    """

    fact: Fact
    candidates: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a suite: it becomes one test item per editor and model.

    Attributes:
        id: short and stable; it depends on the suite file alone ("P36-0007", "P800-P170-00017").
        suite: name of the suite.
        kind: the protocol that the case follows.
        rule: the group that the case belongs to: the conflict rule ("P36>P1376"), for coverage the relation
            id, for round the benchmark's type ("1-3@P366").
        source: path of the case file, as text.
        source_index: row in the case file, counted from 0.
        edits: reverse, composite and coverage: both edits, in order; round: the one edit o1 -> o*.
        relations: every relation that the case speaks of, each id once.
        tied: composite: the tied fact (s, r, s1), else None.
        true_objects: round: all true objects in file order, ``edits[0].object`` among them; else empty.
        others: round: the true objects without ``edits[0].object`` itself, in file order; else empty. Another
            true object with the same label stays, as in the released code.
        held: the facts that the base model is asked for before any edit.
    """

    id: str
    suite: str
    kind: Kind
    rule: str
    source: str
    source_index: int
    edits: tuple[Edit, ...]
    relations: tuple[Relation, ...] = field(repr=False)
    tied: Fact | None = None
    true_objects: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    held: tuple[HeldFact, ...] = field(default=(), repr=False)

    def relation(self, relation_id: str) -> Relation:
        """Return the relation with this id; raises `KeyError` when the case does not speak of it."""
        for relation in self.relations:
            if relation.id == relation_id:
                return relation
        raise KeyError(relation_id)

    def questions(self, fact: Fact) -> tuple[str, ...]:
        """Return all prompts that ask for ``fact``'s object, rewrite prompt first."""
        return self.relation(fact.relation).questions(fact.subject)

    def sentence(self, fact: Fact) -> str:
        """Return the fact in words: the filled rewrite prompt and the object."""
        return f"{fill(self.relation(fact.relation).prompt, fact.subject).rstrip()} {fact.object}"
