"""What a run became against its baseline: counts, and which means are seen to have changed."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_editpitfalls.results.records import ComparisonRecord

from .kinds import is_better

ARROWS = {False: {True: "▲", False: "▼"}, True: {True: "^", False: "v"}}
"""Better and worse than the baseline, on a terminal with and without Unicode."""

SEEN = 0.0005
"""Least change of a mean that is marked: less is not seen in a table."""

Arrows = Mapping[tuple[str, str, str, str], str]
"""(suite, editor, model, metric) -> the arrow before its mean."""


def baseline_counts(compared: ComparisonRecord) -> str:
    """Return how the cases compare, in one line; what does not occur is left out, but for new failures."""
    parts = {
        "known pitfalls": compared.known,
        "new failures": len(compared.new_failures),
        "fixed": len(compared.fixed),
        "errors": compared.errors,
        "skipped now": compared.lost,
        "no longer skipped": compared.gained,
        "not in the baseline": compared.new,
        "not selected here": compared.deselected,
    }
    counts = ", ".join(f"{count} {what}" for what, count in parts.items() if count or what == "new failures")
    return f"{compared.paired} cases on both sides, {counts}"


def changed_arrows(compared: ComparisonRecord | None, ascii_only: bool = False) -> Arrows:
    """Return the arrows of all metrics that are better or worse than in the baseline."""
    return {
        (each.suite, each.editor, each.model, each.metric): ARROWS[ascii_only][better]
        for each in (compared.changes if compared else ())
        if abs(each.now - each.base) >= SEEN
        and (better := is_better(each.metric, each.now - each.base)) is not None
    }
