"""The layout of the results that the pitfalls benchmark's released summary script reads, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True, slots=True)
class Numbered:
    """A list with one answer for each of the facts ``fact:0``, ``fact:1``, ... in one state."""

    fact: str
    state: str


Fields = Mapping[str, Union[tuple[str, str], Numbered, "Fields"]]
"""Field of a row -> (fact, state), the answers of numbered facts, or further fields."""


@dataclass(frozen=True, slots=True)
class ReleasedFile:
    """A file that the script reads; it holds one row per case.

    Attributes:
        path: where it lies; ``{editor}`` and ``{suite}`` are filled in, ``{multi}`` is "_multi" with Multi-Label Edit.
            A path without an editor holds the base model's answers: all editors share it.
        fields: what a row says, besides the number of its case.
    """

    path: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class ReleasedLayout:
    """How one kind of pitfall stands in the released layout.

    Attributes:
        groups: files that are read side by side: a case that one of them cannot hold is left out of its whole group.
        divided_by: fields of a row that the script divides by.
    """

    groups: tuple[tuple[ReleasedFile, ...], ...]
    divided_by: tuple[str, ...] = ()
