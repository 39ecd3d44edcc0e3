"""The kinds of pitfall: one module for each, found by being in this folder; what they are made of begins with "_".

A kind of one's own is a subclass of `Pitfall`: docs/write-a-pitfall.md.
"""

from ._definitions import definitions_digest
from ._pitfall import FactWords, Pitfall, PlotByFacts, PublishedFigures, PublishedRow, Topic, ask, program_of
from ._registry import (
    METRICS,
    PITFALLS,
    compile_case,
    compute_metrics,
    merged,
    metric_of,
    metrics_for,
    pitfall_of,
    topics,
)

__all__ = [
    "METRICS",
    "PITFALLS",
    "FactWords",
    "Pitfall",
    "PlotByFacts",
    "PublishedFigures",
    "PublishedRow",
    "Topic",
    "ask",
    "compile_case",
    "compute_metrics",
    "definitions_digest",
    "merged",
    "metric_of",
    "metrics_for",
    "pitfall_of",
    "program_of",
    "topics",
]
