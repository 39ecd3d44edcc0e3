"""The kinds of pitfall: one module for each, found by being in this folder; what they are made of begins with "_".

A kind of one's own is a subclass of `Pitfall` (docs/write-a-pitfall.md); all that it needs can be imported from here.
"""

from pytest_editpitfalls.cases.case import Case, Edit, Fact, Row
from pytest_editpitfalls.cases.labels import Label
from pytest_editpitfalls.errors import RowError
from pytest_editpitfalls.metrics.controls import score_with_controls
from pytest_editpitfalls.metrics.metric import FactProbabilities, Metric
from pytest_editpitfalls.metrics.shared import edit_success, jensen_shannon, log_ratio, relative_loss, wins
from pytest_editpitfalls.probes import Divergence, Generated, Perplexity, Probe
from pytest_editpitfalls.program import Program

from ._definitions import definitions_digest, same_definitions
from ._pitfall import (
    FactWords,
    Pitfall,
    PlotByFacts,
    PublishedFigures,
    PublishedRow,
    Topic,
    ask,
    divergence,
    perplexity,
    program_of,
    say,
)
from ._registry import (
    METRICS,
    PITFALLS,
    compile_case,
    compute_metrics,
    controls_of,
    merged,
    metric_of,
    metrics_for,
    pitfall_of,
    topics,
    unequal_tokens,
)

__all__ = [
    "METRICS",
    "PITFALLS",
    "Case",
    "Divergence",
    "Edit",
    "Fact",
    "FactProbabilities",
    "FactWords",
    "Generated",
    "Label",
    "Metric",
    "Perplexity",
    "Pitfall",
    "PlotByFacts",
    "Probe",
    "Program",
    "PublishedFigures",
    "PublishedRow",
    "Row",
    "RowError",
    "Topic",
    "ask",
    "compile_case",
    "compute_metrics",
    "controls_of",
    "definitions_digest",
    "divergence",
    "edit_success",
    "jensen_shannon",
    "log_ratio",
    "merged",
    "metric_of",
    "metrics_for",
    "perplexity",
    "pitfall_of",
    "program_of",
    "relative_loss",
    "same_definitions",
    "say",
    "score_with_controls",
    "topics",
    "unequal_tokens",
    "wins",
]
