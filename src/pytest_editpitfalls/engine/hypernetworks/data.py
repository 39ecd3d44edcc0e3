"""Facts to train an editor's network on: never a subject that a suite asks about. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_editpitfalls.program import EditRequest


@dataclass(frozen=True, slots=True)
class Continuation:
    """A prompt and what follows it, after one space where ``joiner`` is not another text."""

    prompt: str
    answer: str
    joiner: str = " "


@dataclass(frozen=True, slots=True)
class TrainingFact:
    """One edit to train on.

    Attributes:
        rephrases: other complete prompts that should be answered with the target after the edit.
        locality: a fact that the edit should leave alone; None: one of another training fact.
    """

    request: EditRequest
    rephrases: tuple[str, ...]
    locality: Continuation | None = None

    @property
    def others_ask(self) -> Continuation:
        """What edits of other subjects should leave alone: the true object where it is known."""
        request = self.request
        return Continuation(request.question, request.target_true or request.target_new, request.joiner)


@dataclass(frozen=True)
class TrainingData:
    """What is trained on.

    Attributes:
        training: facts whose gradients are taken.
        validation: facts of other subjects.
        left_out: facts left out, by reason.
        sources: name and SHA-256 of every file that was read.
    """

    training: tuple[TrainingFact, ...]
    validation: tuple[TrainingFact, ...]
    left_out: dict[str, int]
    sources: dict[str, str]

    def record(self) -> dict[str, Any]:
        """As plain JSON types, for the weights' header."""
        return {
            "training_facts": len(self.training),
            "validation_facts": len(self.validation),
            "left_out": self.left_out,
            "sources": self.sources,
        }


def same_subject(a: TrainingFact, b: TrainingFact) -> bool:
    """Whether two facts are about one subject, capitals and spaces aside."""
    return folded(a.request.subject) == folded(b.request.subject)


def folded(subject: str) -> str:
    """Return a subject without regard to capitals and spaces."""
    return " ".join(subject.casefold().split())
