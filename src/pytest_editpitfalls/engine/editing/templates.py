"""Prompts whose ``{}`` nobody filled.

The field's editors differ on whether a request's prompt still has its place for the subject. One that expects it filled
would teach the model the two braces, without a word.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import EditRequest

PromptForm = Literal["template", "filled"]
"""How ``prompt`` is given: with ``{}`` where the subject belongs, or with the subject there."""

PLACE = "{}"

_WAYS = ("__call__", "encode", "tokenize", "_encode_plus")
"""Methods of a tokenizer that take text."""


@contextmanager
def templates_seen(tokenizer: Any) -> Iterator[list[str]]:
    """While open, collect the texts with ``{}`` in them that tokenizers of this class are given; yields their list.

    The class is watched, not the object: an editor may load a tokenizer of its own.
    """
    kind: Any = type(tokenizer)
    seen: list[str] = []

    def watching(name: str) -> Any:
        plain = getattr(kind, name)

        @functools.wraps(plain)
        def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
            seen.extend(_with_place((args, kwargs)))
            return plain(self, *args, **kwargs)

        return watched

    own = {name: vars(kind).get(name) for name in _WAYS}
    for name in _WAYS:
        setattr(kind, name, watching(name))
    try:
        yield seen
    finally:
        for name, before in own.items():
            if before is None:
                delattr(kind, name)
            else:
                setattr(kind, name, before)


def check_filled(seen: Sequence[str], requests: Iterable[EditRequest], fix: str) -> None:
    """Raise `CaseError` where a prompt of ``requests`` was tokenised with its ``{}``; other texts may have braces."""
    prompts = {each.prompt for each in requests if PLACE not in each.subject}
    found = next((prompt for text in seen for prompt in prompts if prompt in text), None)
    if found is not None:
        raise CaseError(f"it tokenised a prompt with a literal '{PLACE}': {found!r}", fix=fix)


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
