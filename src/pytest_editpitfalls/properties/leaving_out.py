"""Edits that a property says nothing of: hypothesis draws others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pytest_editpitfalls.errors import UnscorableCase


@contextmanager
def left_out(*, unless: bool = True) -> Iterator[None]:
    """Have other edits drawn where the tokenizer cannot write one, or ``unless`` does not hold."""
    from hypothesis import reject

    if not unless:
        reject()
    try:
        yield
    except UnscorableCase:
        reject()
