"""What is drawn: facts that an edit may rewrite, and edits of them; in words, and as text that gives them back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_editpitfalls.cases.case import fill
from pytest_editpitfalls.errors import CaseError, UsageError, did_you_mean
from pytest_editpitfalls.program import EditRequest


class TooSlow(CaseError):
    """A computation took longer than it may."""


class PropertyFailed(AssertionError):
    """An editor does not have a property. Reported by its message alone, without a traceback."""

    # pytest shows the module of an exception before its message; ours says enough
    __module__ = "builtins"


@dataclass(frozen=True)
class FactToEdit:
    """A fact, and what an edit may write in its place.

    Attributes:
        prompt: the rewrite prompt; ``{}`` stands for the subject.
        subject: its label, as it stands in the prompt.
        object: the true object, without a leading space.
        others: objects that are not true of the subject.
        paraphrases: further complete prompts that ask the same.
        relation: id of the relation, or "".
        joiner: what stands between prompt and object.
    """

    prompt: str
    subject: str
    object: str
    others: tuple[str, ...]
    paraphrases: tuple[str, ...] = ()
    relation: str = ""
    joiner: str = " "

    def __post_init__(self) -> None:
        others = tuple(label for label in self.others if label != self.object)
        if not others or "{}" not in self.prompt:
            wrong = "the prompt has no {} for the subject" if others else "there is no other object to write"
            raise UsageError(wrong, where=f"FactToEdit of '{self.subject}'", fix="see docs/properties.md")
        object.__setattr__(self, "others", others)

    @property
    def question(self) -> str:
        """The rewrite prompt with its subject."""
        return fill(self.prompt, self.subject)

    def edited(self, target: str) -> DrawnEdit:
        """Return the edit that writes ``target``."""
        return DrawnEdit(self, target)


@dataclass(frozen=True)
class DrawnEdit:
    """An edit: a fact and the object that is written in place of its own."""

    fact: FactToEdit
    target: str

    def __str__(self) -> str:
        return f"{self.fact.question} ... {self.fact.object} -> {self.target}"

    def __repr__(self) -> str:
        return f"<{self}>"  # what hypothesis prints of an example

    @property
    def request(self) -> EditRequest:
        """What the editor gets."""
        fact = self.fact
        return EditRequest(fact.prompt, fact.subject, self.target, fact.object, fact.relation, fact.joiner)

    @property
    def back(self) -> DrawnEdit:
        """The edit that writes the old object again."""
        return replace(self, target=self.fact.object)

    @property
    def labels(self) -> frozenset[str]:
        """What it is about: subject, old and new object, in small letters."""
        return frozenset(label.casefold() for label in (self.fact.subject, self.fact.object, self.target))


Edits = tuple[DrawnEdit, ...]
"""A sequence of edits, in the order in which they are made."""


def are_unrelated(edits: Iterable[DrawnEdit]) -> bool:
    """Whether no two edits have a label in common."""
    seen: set[str] = set()
    for edit in edits:
        if not seen.isdisjoint(edit.labels):
            return False
        seen |= edit.labels
    return True


def in_words(edits: Sequence[DrawnEdit]) -> list[str]:
    """Return one line for each edit."""
    return [f"edit {number}: {edit}" for number, edit in enumerate(edits, 1)]


def as_text(edits: Iterable[DrawnEdit]) -> str:
    """Return the edits as a command line names them (``--pitfalls-example``)."""
    return json.dumps([[e.fact.relation, e.fact.subject, e.target] for e in edits], ensure_ascii=False)


def from_text(text: str, facts: Sequence[FactToEdit], *, where: str) -> Edits:
    """Read what `as_text` wrote.

    Raises:
        UsageError: it is no list of edits, or one is of a fact that is not among ``facts``.
    """
    fix = 'write for instance [["P36", "France", "Rome"]]: relation, subject and new object of each edit'
    try:
        given = json.loads(text)
    except ValueError as error:
        raise UsageError(f"'{text}' is no JSON: {error}", where=where, fix=fix) from None
    known: Mapping[tuple[str, str], FactToEdit] = {(fact.relation, fact.subject): fact for fact in facts}
    edits = []
    for each in given if isinstance(given, list) and given else [None]:
        if not (isinstance(each, list) and len(each) == 3 and all(isinstance(label, str) and label for label in each)):
            raise UsageError(f"'{text}' is no list of edits", where=where, fix=fix)
        relation, subject, target = each
        if (fact := known.get((relation, subject))) is None:
            raise UsageError(
                f"no fact of '{relation}' and '{subject}' is among those that edits are drawn from",
                where=where,
                fix=did_you_mean(subject, [name for of, name in known if of == relation] or [n for _, n in known]),
            )
        edits.append(fact.edited(target))
    return tuple(edits)
