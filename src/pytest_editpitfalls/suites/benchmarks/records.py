"""What the files of other benchmarks say: edits, and facts around them. Every form is read into these records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pytest_editpitfalls.cases.case import Relation


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A fact that an edit has to leave alone.

    Attributes:
        prompt: asks for it, with its subject in place.
        answer: what is true, "" where the file does not say.
    """

    prompt: str
    answer: str = ""


@dataclass(frozen=True, slots=True)
class PlainEdit:
    """One edit of a file.

    Attributes:
        subject: as it stands in the prompt.
        prompt: the rewrite prompt; ``{}`` stands for the subject.
        target_new: what the edit writes.
        target_true: what is true before, "" where the file does not say.
        relation: the file's id of the relation ("P36"), or a name made of the prompt.
        paraphrases: further prompts with ``{}`` for the subject.
        neighbours: facts that the edit has to leave alone.
        question: the relation as a question with ``{}``, or "".
        row: the record in the file, counted from 0.
        place: of the record for messages ("counterfact.json, row 3").
    """

    subject: str
    prompt: str
    target_new: str
    target_true: str
    relation: str
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    question: str = ""
    row: int = 0
    place: str = ""

    @property
    def asked(self) -> Relation:
        """The relation with its prompts."""
        return Relation(self.relation, self.prompt, self.paraphrases, query=self.question)


@dataclass(frozen=True, slots=True)
class Inverse:
    """An edit and the fact that follows from it the other way round: (target_new, back, subject)."""

    edit: PlainEdit
    back: Relation


@dataclass(frozen=True, slots=True)
class Chain:
    """A question of two hops whose second hop is edited: (start, first, edit.subject), and ``whole`` asks for both.

    Attributes:
        edit: the edit of the second hop.
        start: what the question is about.
        first: relation of the first hop.
        whole: the relation of both hops, asked about ``start``.
    """

    edit: PlainEdit
    start: str
    first: Relation
    whole: Relation


@dataclass(frozen=True, slots=True)
class Several:
    """A subject that has several true objects in a relation.

    Attributes:
        subject: the subject.
        relation: the relation.
        objects: all true objects, each once.
        edited: which of them the file edits, "" where it edits none.
        target: what the file writes in its place, "" where it edits none.
        row: the record in the file.
    """

    subject: str
    relation: Relation
    objects: tuple[str, ...]
    edited: str
    target: str
    row: int


@dataclass(slots=True)
class Records:
    """What a file says.

    Attributes:
        form: name of the benchmark ("CounterFact").
        count: how many records the file has.
        edits: the edits, in file order.
        inverses, chains, several: what the other kinds of cases are made of.
        left_out: reason -> how many edits or records were left out for it.
        first: reason -> the first row where it occurred.
    """

    form: str
    count: int = 0
    edits: list[PlainEdit] = field(default_factory=list)
    inverses: list[Inverse] = field(default_factory=list)
    chains: list[Chain] = field(default_factory=list)
    several: list[Several] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)

    def leave_out(self, reason: str, row: int) -> None:
        """Count what was left out."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, row)


@dataclass(frozen=True, slots=True)
class Form:
    """One benchmark's form of file. A module of `suites.readers` makes a reader of it.

    Attributes:
        name: the benchmark ("CounterFact").
        what: what its files are, for messages ("a CounterFact .json file").
        rows: validates a whole file: a list of typed dicts.
        recognises: whether a file whose first row is this one has this form.
        read: puts a file's rows into the records; called with the file's path, for messages.
        kinds: the kinds of cases that its records can feed.
        provenance: where the benchmark is from.
    """

    name: str
    what: str
    rows: TypeAdapter[list[Any]]
    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Iterable[Any], Records, Path], None]
    kinds: tuple[str, ...]
    provenance: str
