"""The benchmark's published figures, as data to show beside one's own.

Source: the result tables of "Unveiling the Pitfalls of Knowledge Editing for Large Language Models" (ICLR
2024), transcribed for this project. They are what the released code prints, in per cent; here as
fractions. Each column is therefore compared with the metric that the released code computes: CS -> cs_exp
(coverage) or cs_exp and cs_imp, CM -> cm (clamped at -1 per case), TFD -> tfd_released, D ->
distortion_released, Succ -> succ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType

CITATION = (
    "Li et al., Unveiling the Pitfalls of Knowledge Editing for Large Language Models, "
    "ICLR 2024 (arXiv:2310.02129)"
)

COLUMNS: MappingProxyType[str, tuple[str, ...]] = MappingProxyType(
    {
        "coverage": ("succ", "cs_exp", "cm"),
        "reverse": ("cs_exp", "cs_imp", "cm"),
        "composite": ("cs_exp", "cs_imp", "cm", "tfd_released"),
        "easy": ("succ", "distortion_released", "ir", "fr"),
        "hard": ("succ", "distortion_released", "ir", "fr"),
    }
)
"""The metrics of each suite's published columns, in order."""

# (model, editor): per cent; coverage, reverse and composite in the order of COLUMNS.
_CONFLICT: dict[tuple[str, str], tuple[float, ...]] = {
    ("gpt2-xl", "ft"): (82.56, 78.88, 70.86, 80.28, 15.20, 71.11, 75.45, 57.65, 64.28, 88.75),
    ("gpt2-xl", "mend"): (98.40, 91.04, 60.01, 88.89, 15.32, 60.50, 84.85, 81.35, 43.45, 72.09),
    ("gpt2-xl", "rome"): (99.96, 99.76, 96.92, 65.92, 0.00, -0.65, 71.70, 38.70, 37.04, 69.55),
    ("gpt2-xl", "memit"): (79.24, 83.88, 32.29, 51.44, 2.08, -1.60, 57.15, 29.40, -1.50, 24.63),
    ("gpt-j", "ft"): (100.0, 100.0, 99.90, 99.60, 4.16, 97.20, 96.68, 88.92, 88.98, 89.97),
    ("gpt-j", "mend"): (100.0, 95.88, 82.41, 88.92, 6.40, 60.72, 83.04, 73.52, 63.99, 42.95),
    ("gpt-j", "rome"): (100.0, 99.80, 94.25, 56.84, 0.00, 0.06, 77.60, 29.24, 39.27, 81.02),
    ("gpt-j", "memit"): (100.0, 99.64, 88.91, 55.16, 0.00, -1.18, 75.48, 49.28, 28.78, 64.51),
}
# (model, editor): per cent; easy, then hard. The published "+MLE" is MEMIT with Multi-Label Edit.
_ROUND: dict[tuple[str, str], tuple[float, ...]] = {
    ("gpt2-xl", "ft"): (89.50, 6.47, 74.47, 72.24, 90.06, 11.38, 80.83, 80.82),
    ("gpt2-xl", "mend"): (78.22, 6.48, 87.86, 86.88, 80.50, 9.73, 90.56, 89.36),
    ("gpt2-xl", "rome"): (99.82, 7.78, 67.41, 64.60, 99.86, 14.86, 74.38, 73.68),
    ("gpt2-xl", "memit"): (86.44, 5.94, 49.98, 45.36, 88.12, 10.29, 53.38, 50.12),
    ("gpt2-xl", "memit+mle"): (83.62, 3.05, 4.66, 1.72, 86.64, 2.67, 2.67, 1.12),
    ("gpt-j", "ft"): (99.96, 9.59, 96.43, 96.56, 100.0, 16.12, 97.48, 97.32),
    ("gpt-j", "mend"): (99.44, 8.55, 90.96, 90.68, 99.12, 14.35, 87.64, 86.56),
    ("gpt-j", "rome"): (99.66, 6.91, 67.35, 65.56, 99.80, 13.95, 78.98, 77.60),
    ("gpt-j", "memit"): (99.52, 6.44, 56.91, 53.52, 99.72, 13.50, 72.03, 70.44),
    ("gpt-j", "memit+mle"): (93.96, 2.11, 2.48, 0.80, 80.34, 2.72, 3.84, 1.12),
}
REMARKS: MappingProxyType[tuple[str, str, str, str], str] = MappingProxyType(
    {
        ("gpt2-xl", "mend", "reverse", "cs_exp"): "not a multiple of 1/2500: a misprint or dropped cases",
        ("gpt2-xl", "ft", "hard", "fr"): "not a multiple of 1/2500: a misprint or dropped cases",
    }
)
"""Published cells that cannot be right as printed: (model, editor, suite, metric) -> remark."""


@dataclass(frozen=True, slots=True)
class PublishedFigures:
    """One published row for one suite: metrics as fractions, over ``n`` cases."""

    model: str
    editor: str
    suite: str
    n: int
    metrics: MappingProxyType[str, float]


def published_figures(model: str, editor: str, suite: str) -> PublishedFigures | None:
    """Return the published row, or None when there is none.

    Args:
        model: a model's name, Hugging Face id or path; GPT2-XL and GPT-J (6B) are recognised by its last
            part.
        editor: label of the editor ("rome"; "memit+mle" is MEMIT with Multi-Label Edit).
        suite: a suite's name; easy and hard stand for the two files of round edits.
    """
    return _FIGURES.get((_canonical_model(model), editor.lower(), suite))


def _canonical_model(model: str) -> str:
    name = re.split(r"[/\\]", model.rstrip("/\\"))[-1].lower()
    return {"gpt-j-6b": "gpt-j", "gptj": "gpt-j", "gpt2xl": "gpt2-xl"}.get(name, name)


def _build() -> dict[tuple[str, str, str], PublishedFigures]:
    figures: dict[tuple[str, str, str], PublishedFigures] = {}
    for suites, table in ((("coverage", "reverse", "composite"), _CONFLICT), (("easy", "hard"), _ROUND)):
        for (model, editor), row in table.items():
            cells = iter(row)
            for suite in suites:
                values = {metric: next(cells) / 100 for metric in COLUMNS[suite]}
                n = 2000 if (model, suite) == ("gpt2-xl", "composite") else 2500
                figures[model, editor, suite] = PublishedFigures(
                    model, editor, suite, n, MappingProxyType(values)
                )
    return figures


_FIGURES = _build()
