"""Digests of what the metrics are: figures of two definitions cannot be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from ._neutral_texts import DIGEST
from ._registry import PITFALLS, AnyPitfall

DEFINITIONS = 2
"""To be counted up when a metric that ships gets another value for the same probabilities."""


def definitions_digest(kinds: Iterable[str]) -> str:
    """Return the digests of the metrics of some kinds, each by its kind: ``coverage:0a1b2c3d reverse:4e5f6a7b``.

    Each kind has its own, so that a pitfall that is added leaves what was measured of the others comparable.

    Args:
        kinds: the kinds of a run's suites, in any order.
    """
    return " ".join(f"{kind}:{_digest(PITFALLS.get(kind))}" for kind in sorted(set(kinds)))


def same_definitions(first: str, second: str) -> bool:
    """Whether figures of two runs can be compared: the kinds that both have define their metrics alike.

    Args:
        first: what [`definitions_digest`][pytest_editpitfalls.pitfalls.definitions_digest] returned for one run.
        second: the same of the other run.
    """
    if first == second:
        return True
    ours, theirs = _by_kind(first), _by_kind(second)
    if not ours or not theirs:
        return False
    return all(theirs[kind] == digest for kind, digest in ours.items() if kind in theirs)


def _digest(pitfall: AnyPitfall) -> str:
    said = [[each.name, each.is_binary, each.higher_is_better, each.low, each.high] for each in pitfall.metrics]
    # over other fixed texts the same metrics are other figures
    texts = [DIGEST] if any(DIGEST in each.definition for each in pitfall.metrics) else []
    return hashlib.sha256(json.dumps([DEFINITIONS, sorted(said), *texts]).encode()).hexdigest()[:8]


def _by_kind(text: str) -> dict[str, str]:
    """Kind -> digest; empty where the text is of an earlier form, which had one digest for all kinds."""
    found = dict(part.rpartition(":")[::2] for part in text.split())
    return {} if "" in found else found
