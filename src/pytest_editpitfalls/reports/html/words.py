"""What things are called on the page: outcomes, states, facts, metrics and numbers."""

from __future__ import annotations

from types import MappingProxyType

from pytest_editpitfalls.metrics.metric import Metric

OUTCOMES: dict[str, str] = {
    "passed": "every threshold was kept",
    "failed": "a threshold fell",
    "xfailed": "a threshold fell, but the case does not decide: a gate or a baseline does",
    "skipped": "cannot be scored on this model",
    "error": "could not be computed",
}
"""Outcome -> what it means, in the order of the page."""

STATES: dict[str, str] = {"0": "before", "1": "after edit 1", "12": "after both", "2": "edit 2 alone"}
"""State -> heading, in order."""

FACTS: dict[str, str] = {
    "old": "what edit 1 writes",
    "replaced": "what edit 1 replaces",
    "new_exp": "what edit 2 writes",
    "new_imp": "what edit 2 implies",
    "tied": "tied fact: it should survive both edits",
    "single_old": "what edit 1 would write, edit 1 not made",
    "single_new": "what edit 2 writes, on its own",
    "object": "the true object that is edited away and back",
    "new_object": "what edit 1 writes in its place",
    "other": "another true object, never edited",
}
"""Fact of a probe -> what it is; "other" stands for other:0, other:1, ..."""

GATE_RESULTS: MappingProxyType[bool | None, tuple[str, str]] = MappingProxyType(
    {True: ("passed", "kept"), False: ("failed", "fell"), None: ("skipped", "not evaluated")}
)
"""`passed` of a gate -> class and word."""


PLAIN: dict[str, str] = {
    "es": "Does edit 1 take? 1 when the model then prefers the new object to the one that it replaces.",
    "ps": "Does edit 1 hold in other words? The share of paraphrases that answer with the new object.",
    "succ": "Do the edits take? For round suites, there and back.",
    "cs_exp": "Does the later edit win? 1 when the model believes edit 2 rather than edit 1 after both.",
    "cs_imp": "Does what edit 2 implies win, too? 1 when the model draws the conclusion from edit 2.",
    "cm": "How far edit 2 pushes edit 1's fact out: 1 all of it, 0 nothing, below 0 it grew stronger.",
    "cm_unclamped": "As CM, with no lower end.",
    "tfd": "How much the fact that ties both edits together loses by edit 2, though nobody edited it.",
    "tfd_released": "As TFD, measured from the model before any edit.",
    "distortion": "How far the other true answers are out of proportion after there and back: 0 not at all.",
    "distortion_released": "As D, scaled down by the number of true answers.",
    "ir": "The share of the other true answers that are less likely after there and back.",
    "fr": "1 when more than half of the other true answers are less likely after there and back.",
}
"""Metric -> what it asks, in plain language; the exact definition stands beside it."""


UNKNOWN_METRIC = "a metric that this version does not know"


def direction(metric: Metric) -> str:
    """Return in which direction a metric is better."""
    return "higher is better" if metric.higher_is_better else "lower is better"


def number(value: float | None, digits: int = 3) -> str:
    """Return a fraction with a fixed number of digits, as the JSON and thresholds have it; "–" where unknown."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}" if abs(value) < 1000 else f"{value:.3g}"
    if not text.strip("-0."):
        text = text.removeprefix("-")  # nobody gains from "-0.000"
    return text.replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """Return an interval in brackets, "" where there is none."""
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def duration(seconds: float | None) -> str:
    """Return a time that people read: "12.6 min"."""
    if seconds is None:
        return "unknown"
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
