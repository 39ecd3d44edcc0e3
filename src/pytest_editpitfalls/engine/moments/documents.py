"""The documents that a pass reads: token ids, window by window, never all of a long text at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")

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


class Documents(Generic[T]):
    """Documents that are read and tokenised when their turn comes.

    Args:
        read: the documents after the first so many.
        total: how many there are at most.
        tokenise: document to token ids.
        limit: tokens of a document that count; the rest is cut off.
    """

    def __init__(
        self,
        read: Callable[[int], Iterator[T]],
        total: int,
        tokenise: Callable[[T], Sequence[int]],
        limit: int,
    ) -> None:
        self._read, self.total, self._tokenise, self._limit = read, total, tokenise, limit

    def windows(self, skip: int) -> Iterator[Window]:
        """All windows after the first ``skip`` documents."""
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


def tokenised(documents: Sequence[Sequence[int]]) -> Documents[Sequence[int]]:
    """Documents that are token ids already."""
    longest = max(map(len, documents), default=0)
    return Documents(lambda skip: islice(documents, skip, None), len(documents), list, longest)
