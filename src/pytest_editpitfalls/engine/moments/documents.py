"""The documents that a pass reads: token ids, window by window, never all of a long text at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

WINDOW = 1024
"""Documents that are held, and sorted by length, at once."""


@dataclass(frozen=True)
class Window:
    """Some consecutive documents.

    Attributes:
        count: documents read, empty ones too.
        documents: token ids of those that have any.
    """

    count: int
    documents: Sequence[Sequence[int]]


class Documents(Protocol):
    """A text in documents.

    Attributes:
        total: how many there are at most.
    """

    total: int

    def windows(self, skip: int) -> Iterator[Window]:
        """All windows after the first ``skip`` documents."""


class TokenisedDocuments:
    """Documents that are token ids already.

    Args:
        documents: all of them.
    """

    def __init__(self, documents: Sequence[Sequence[int]]) -> None:
        self._documents = documents
        self.total = len(documents)

    def windows(self, skip: int) -> Iterator[Window]:
        for start in range(skip, len(self._documents), WINDOW):
            part = self._documents[start : start + WINDOW]
            yield Window(len(part), part)


class Texts:
    """Documents that are read and tokenised when their turn comes.

    Args:
        read: the texts after the first so many.
        total: how many there are at most.
        tokenise: text to token ids.
        limit: tokens of a document that count; the rest is cut off.
    """

    def __init__(
        self,
        read: Callable[[int], Iterator[str]],
        total: int,
        tokenise: Callable[[str], Sequence[int]],
        limit: int,
    ) -> None:
        self._read, self.total, self._tokenise, self._limit = read, total, tokenise, limit

    def windows(self, skip: int) -> Iterator[Window]:
        texts = self._read(skip)
        while True:
            count, documents = 0, []
            for text in islice(texts, WINDOW):
                count += 1
                if ids := list(self._tokenise(text)[: self._limit]):
                    documents.append(ids)
            if count == 0:
                return
            yield Window(count, documents)
