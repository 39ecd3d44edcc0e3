"""What the model is asked during a build, each question once; the answers are kept, so that a build can be resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from pytest_editpitfalls.cases.digests import digest_of
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.program import HeldAnswer, HeldQuestion

Q = TypeVar("Q")
AT_ONCE = 64
"""Questions that the model is asked together."""

ASKED_SHARE = 0.5
"""The share of the paraphrases that every question asks for; the answer says on how many the object wins."""

BY_EACH = "held by each score"
"""Answers that say so for each score; they also serve where only the whole is asked, and not the other way round."""

ONE_NAME = "edit1"
"""The name that every question is kept under: a fact is asked once, whatever it is to a case."""

_FIELDS = {field.name for field in fields(HeldAnswer)}


class Model(Protocol):
    """What a build asks of a model: an `EngineSession`."""

    fingerprint: str
    dtype: str

    def held(self, questions: Sequence[HeldQuestion], *, each_score: bool = True) -> list[HeldAnswer]:
        """Whether the model holds facts."""

    def object_vectors(
        self, asked: Sequence[tuple[str, str]], depth_fraction: float, joiner: str = " "
    ) -> Sequence[NDArray[Any] | None]:
        """Mean hidden state over the tokens of an object behind a prompt; None where there are no tokens."""

    def token_counts(self, labels: Sequence[str], joiner: str = " ") -> list[int | None]:
        """How many tokens labels have; None where the tokenizer cannot write one."""


class Asked:
    """A model that is asked nothing twice.

    Args:
        model: the model.
        journal: the file that answers are kept in, line by line; answers of another model in it are not used.
        progress: called with how many questions were put and how many of these were answered from the journal.
    """

    def __init__(
        self, model: Model, journal: Path, progress: Callable[[int, int], None] = lambda asked, kept: None
    ) -> None:
        self._model = model
        self._journal = journal
        self._progress = progress
        self._known: dict[str, Any] = _read(journal, _identity(model))
        self._resumed = frozenset(self._known)
        self._tokens: dict[tuple[str, str], int | None] = {}
        self.asked = self.kept = 0

    def held(self, questions: Sequence[HeldQuestion], *, each_score: bool) -> list[HeldAnswer]:
        """Answer each question, in order; ``each_score`` as in `EngineSession.held`.

        Paraphrases are asked under one share, so that a build with another one needs no new answers.
        """

        def ask(part: Sequence[HeldQuestion]) -> list[dict[str, Any]]:
            return [asdict(answer) for answer in self._model.held(part, each_score=each_score)]

        asked = [replace(each, name=ONE_NAME, share=ASKED_SHARE if each.share else 0.0) for each in questions]
        values = self._answers(BY_EACH, asked, ask) if each_score else self._answers("held", asked, ask, BY_EACH)
        answers = [HeldAnswer(**value) for value in values]
        return [_under_share(answer, question) for answer, question in zip(answers, questions, strict=True)]

    def object_vectors(self, asked: Sequence[tuple[str, str]], depth: float, joiner: str) -> list[list[float] | None]:
        """Return a vector for each (prompt, object)."""

        def ask(part: Sequence[tuple[str, str]]) -> list[list[float] | None]:
            vectors = self._model.object_vectors(part, depth, joiner)
            return [None if vector is None else [round(float(each), 5) for each in vector] for vector in vectors]

        return self._answers(f"vector {depth:.6f} {joiner!r}", asked, ask)

    def tokens(self, label: str, joiner: str) -> int | None:
        """Return how many tokens a label has."""
        key = (label, joiner)
        if key not in self._tokens:
            (self._tokens[key],) = self._model.token_counts([label], joiner)
        return self._tokens[key]

    def _answers(
        self, what: str, questions: Sequence[Q], ask: Callable[[Sequence[Q]], list[Any]], as_good: str | None = None
    ) -> list[Any]:
        """The answers, from the journal where they are there, also as what is ``as_good``."""
        keys = [_key(what, question) for question in questions]
        if as_good is not None:
            better = [_key(as_good, question) for question in questions]
            keys = [other if other in self._known else key for key, other in zip(keys, better, strict=True)]
        new = {key: question for key, question in zip(keys, questions, strict=True) if key not in self._known}
        self.kept += sum(key in self._resumed for key in keys)
        waiting = list(new.items())
        for start in range(0, len(waiting), AT_ONCE):
            part = waiting[start : start + AT_ONCE]
            values = ask([question for _, question in part])
            self._keep(zip((key for key, _ in part), values, strict=True))
            self.asked += len(part)
            self._progress(self.asked, self.kept)
        return [self._known[key] for key in keys]

    def _keep(self, answers: Iterable[tuple[str, Any]]) -> None:
        try:
            with self._journal.open("a", encoding="utf-8") as file:
                for key, value in answers:
                    self._known[key] = value
                    file.write(json.dumps({"model": _identity(self._model), "key": key, "value": value}) + "\n")
        except OSError as error:
            raise UsageError(
                f"the model's answers cannot be kept: {error.strerror or error}",
                where=str(self._journal),
                fix="make room, and start the build again: it goes on where it was",
            ) from None


def _identity(model: Model) -> str:
    """What answers depend on: the weights, and what they are multiplied in."""
    return f"{model.fingerprint} {model.dtype}"


def _under_share(answer: HeldAnswer, question: HeldQuestion) -> HeldAnswer:
    """The answer to a question that asks for its own share of the paraphrases."""
    if answer.share is None:
        return answer
    return replace(answer, holds=answer.share >= question.share and all(answer.wins[each] for each in question.scores))


def _key(what: str, question: object) -> str:
    return hashlib.sha256(f"{what} {digest_of(question)}".encode()).hexdigest()


def _is_answer(value: object) -> bool:
    """Whether an answer has the form of today: another version may have written it."""
    return not isinstance(value, dict) or value.keys() == _FIELDS


def _read(journal: Path, fingerprint: str) -> dict[str, Any]:
    known: dict[str, Any] = {}
    try:
        with journal.open(encoding="utf-8") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # the build was stopped while it wrote this line
                if isinstance(entry, dict) and entry.get("model") == fingerprint and _is_answer(entry["value"]):
                    known[entry["key"]] = entry["value"]
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise UsageError(
            f"the answers of an earlier build cannot be read: {error}", where=str(journal), fix="delete the file"
        ) from None
    return known
