"""Facts, edits, the relations that put them into words, and the cases that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from pytest_editpitfalls.probes import unless
from pytest_editpitfalls.program import Score, long_list

from .labels import Label, Name

Kind = str
"""Name of a kind of pitfall ("reverse"); `pytest_editpitfalls.pitfalls` knows them all."""

_STRICT = ConfigDict(extra="forbid", strict=True)

LEFT_OUT_AT_DEFAULT = "a digest leaves it out at its default"
"""Marks a field of a row that came later, so that the digests of rows without it stay as they are."""

Strength = Literal["strict", "default"]
"""Whether both edits cannot be true together, or only are not expected to be."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation and the prompts that ask for its object.

    Attributes:
        id: relation id ("P36").
        prompt: the rewrite prompt; its first ``{}`` stands for the subject.
        paraphrases: further prompts of the same form, in file order, duplicates included.
        label: the relation's name in words, or "".
        query: the relation as a question, or "".
        joiner: what stands between a prompt and an object: one space, or nothing (Chinese, Japanese).
        sentence_case: whether a subject that begins a prompt is written with a capital.
        variant_of: id of the relation that this one only puts into other words (for plural subjects), or "".
    """

    id: str
    prompt: str
    paraphrases: tuple[str, ...]
    label: str = ""
    query: str = ""
    joiner: str = field(default=" ", metadata=unless(" "))
    sentence_case: bool = field(default=False, metadata=unless(False))
    variant_of: str = field(default="", metadata=unless(""))

    @property
    def base(self) -> str:
        """Id of the relation itself: another one's where this is a variant."""
        return self.variant_of or self.id

    def questions(self, subject: str) -> tuple[str, ...]:
        """Return all prompts with ``subject`` in place: the rewrite prompt first, then the paraphrases."""
        return tuple(fill(prompt, self.written(subject, prompt)) for prompt in (self.prompt, *self.paraphrases))

    def written(self, subject: str, prompt: str | None = None) -> str:
        """Return the subject as it stands in a prompt, by default the rewrite prompt."""
        begins = (self.prompt if prompt is None else prompt).startswith("{}")
        return in_sentence_case(subject) if self.sentence_case and begins else subject

    def sentence(self, subject: str, label: str) -> str:
        """Return a fact in words: the rewrite prompt with its subject, and the object ``label``."""
        return statement(fill(self.prompt, self.written(subject)), label, self.joiner)


def fill(prompt: str, subject: str) -> str:
    """Put ``subject`` into the first ``{}`` of ``prompt``; braces in the subject stay as they are."""
    return prompt.replace("{}", subject, 1)


def in_sentence_case(label: str) -> str:
    """Return a label as it begins a sentence; a first word that has its own capitals stays ("iPhone", "pH")."""
    first = label.split(maxsplit=1)[0] if label.strip() else label
    return label if first != first.lower() else label[:1].title() + label[1:]


def statement(prompt: str, label: str, joiner: str) -> str:
    """Return a prompt and its object as one sentence to read; published prompts may end in a space."""
    return f"{prompt.rstrip()}{joiner}{label}"


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact (subject, relation, object); ``relation`` is a relation id, the others are labels."""

    relation: Label
    subject: Label
    object: Label

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit: the object of (subject, relation) is changed from ``object`` to ``new_object``."""

    relation: Label
    subject: Label
    object: Label
    new_object: Label

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    @property
    def before(self) -> Fact:
        """The fact that the edit replaces."""
        return Fact(self.relation, self.subject, self.object)

    @property
    def after(self) -> Fact:
        """The fact that the edit writes."""
        return Fact(self.relation, self.subject, self.new_object)


class Row(BaseModel):
    """What a line of a suite file says of one case. Each kind of pitfall has a row of its own, with its checks.

    A check is a pydantic validator that raises `RowError`.

    Attributes:
        id: short and unique in its file.
        rule: the group that the case belongs to ("P36>P1376").
        edits: the edits, in order.
        strength: whether both edits cannot be true together ("strict"), or only are not expected to be ("default").
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Name
    rule: Label
    edits: tuple[Edit, ...]
    strength: Annotated[Strength, LEFT_OUT_AT_DEFAULT] = "strict"

    def named_facts(self) -> Mapping[str, Fact | Edit]:
        """Return every fact and edit of the row by its field ("edits.0"): their relations need prompts."""
        return {f"edits.{place}": edit for place, edit in enumerate(self.edits)}

    def base_facts(self) -> Iterator[Fact]:
        """Give the facts that the row takes as true before any edit; by default what edit 1 replaces."""
        yield self.edits[0].before

    def held_facts(self) -> Mapping[str, Fact]:
        """Return the facts that the base model is asked for before any edit, by name; by default what edit 1 replaces.

        The names are for reports ("edit1").
        """
        return {"edit1": self.edits[0].before}


@dataclass(frozen=True, slots=True)
class HeldFact:
    """A fact that the case takes for granted in the base model.

    Attributes:
        name: which fact of the case it is ("edit1", "tied").
        fact: the fact; the model holds it when its object is likelier than every candidate.
        candidates: objects of the same relation, in file order; facts may share one tuple.
        scores, share, not_rivals: as those of `pytest_editpitfalls.program.HeldQuestion`.
    """

    name: str
    fact: Fact
    candidates: tuple[str, ...] = field(metadata=long_list())
    scores: tuple[Score, ...] = field(default=("mean",), metadata=unless(("mean",)))
    share: float = field(default=0.0, metadata=unless(0.0))
    not_rivals: tuple[str, ...] = field(default=(), metadata=unless(()))


@dataclass(frozen=True, slots=True)
class Case:
    """One case of a suite: it becomes one test item per editor and model.

    Attributes:
        suite: name of the suite.
        kind: the kind of pitfall.
        source: path of the case file, as text.
        source_index: row in the case file, counted from 0.
        row: all that the file says of the case, of the type that its kind has.
        relations: every relation that the case speaks of, each id once.
        held: the facts that the base model is asked for before any edit.
    """

    suite: str
    kind: Kind
    source: str
    source_index: int
    row: Row
    relations: tuple[Relation, ...] = field(repr=False)
    held: tuple[HeldFact, ...] = field(default=(), repr=False)

    @property
    def id(self) -> str:
        """Short and stable; it depends on the suite file alone ("P36-0007", "P800-P170-00017")."""
        return self.row.id

    @property
    def group(self) -> str:
        """What belongs together: the conflict rule ("P36>P1376"), the relation, the benchmark's type ("1-3@P366")."""
        return self.row.rule

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits, in order; a program may add further ones that follow from them."""
        return self.row.edits

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
        return self.relation(fact.relation).sentence(fact.subject, fact.object)
