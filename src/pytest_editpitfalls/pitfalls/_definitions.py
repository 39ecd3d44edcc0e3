"""Digest of what the metrics are: figures of two definitions cannot be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from ._registry import PITFALLS, AnyPitfall

DEFINITIONS = 2
"""To be counted up when a metric that ships gets another value for the same probabilities."""


def definitions_digest(kinds: Iterable[str] = ()) -> str:
    """Return the digest of all metrics that ship, and of those of further kinds.

    Args:
        kinds: the kinds of a run's suites.
    """
    shipped = list(PITFALLS.shipped.values())
    said = _said(shipped)
    if others := [PITFALLS.get(kind) for kind in sorted(set(kinds) - set(PITFALLS.shipped))]:
        said.append(_said(others))
    return hashlib.sha256(json.dumps([DEFINITIONS, said]).encode()).hexdigest()[:16]


def _said(pitfalls: list[AnyPitfall]) -> list[object]:
    said: list[object] = []
    for name in sorted({metric.name for kind in pitfalls for metric in kind.metrics}):
        found = [(kind.name, metric) for kind in pitfalls for metric in kind.metrics if metric.name == name]
        first = found[0][1]
        kinds = [kind for kind, _ in found]
        binary = [kind for kind, metric in found if metric.is_binary]
        said.append([name, kinds, binary, first.higher_is_better, first.low, first.high])
    return said
