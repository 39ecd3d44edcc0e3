"""Prompts whose ``{}`` nobody filled.

The field's editors differ on whether a request's prompt still has its place for the subject. One that expects it filled
would teach the model the two braces, without a word.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import EditRequest

PromptForm = Literal["template", "filled"]
"""How ``prompt`` is given: with ``{}`` where the subject belongs, or with the subject there."""

PLACE = "{}"


@contextmanager
def templates_seen(tokenizer: Any) -> Iterator[list[str]]:
    """While open, the texts with ``{}`` in them that ``tokenizer`` is given are collected; yields their list."""
    kind: Any = type(tokenizer)
    seen: list[str] = []

    class Watched(kind):  # type: ignore[misc]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            seen.extend(_with_place((args, kwargs)))
            return super().__call__(*args, **kwargs)

        def encode(self, *args: Any, **kwargs: Any) -> Any:
            seen.extend(_with_place((args, kwargs)))
            return super().encode(*args, **kwargs)

        def tokenize(self, *args: Any, **kwargs: Any) -> Any:
            seen.extend(_with_place((args, kwargs)))
            return super().tokenize(*args, **kwargs)

    Watched.__name__, Watched.__qualname__, Watched.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    tokenizer.__class__ = Watched
    try:
        yield seen
    finally:
        tokenizer.__class__ = kind


def check_filled(seen: Sequence[str], requests: Iterable[EditRequest], fix: str) -> None:
    """Raise `CaseError` where a prompt of ``requests`` was tokenised with its ``{}``.

    Labels that have braces themselves cannot be told from it: nothing is said then.
    """
    labels = [label for each in requests for label in (each.subject, each.target_new, each.target_true or "")]
    if seen and not any(PLACE in label for label in labels):
        raise CaseError(f"it tokenised a prompt with a literal '{PLACE}': {seen[0]!r}", fix=fix)


def _with_place(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if PLACE in value:
            yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _with_place(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _with_place(each)
