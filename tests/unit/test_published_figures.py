"""The published figures as data."""

from __future__ import annotations

import pytest

from pytest_editpitfalls.pitfalls import PublishedRow, metric_of, pitfall_of
from pytest_editpitfalls.suites.discovery import shipped_suites

EDITORS = {
    "conflict": ("ft", "mend", "rome", "memit"),
    "distortion": ("ft", "mend", "rome", "memit", "memit+mle"),
}
EVERY = [
    (suite, kind, model, editor)
    for suite, kind in shipped_suites().items()
    for model in ("gpt2-xl", "gpt-j")
    for editor in EDITORS.get(pitfall_of(kind).topic.name, ())
]


def published(model: str, editor: str, suite: str) -> PublishedRow | None:
    return pitfall_of(shipped_suites()[suite]).published_row(suite, editor, [None, model])


@pytest.mark.parametrize(
    ("model", "editor", "suite", "metrics"),
    [
        ("gpt2-xl", "rome", "reverse", {"cs_exp": 0.6592, "cs_imp": 0.0, "cm": -0.0065}),
        (
            "gpt2-xl",
            "rome",
            "composite",
            {"cs_exp": 0.717, "cs_imp": 0.387, "cm": 0.3704, "tfd_released": 0.6955},
        ),
        ("openai-community/gpt2-xl", "ROME", "coverage", {"succ_released": 0.9996, "cs_exp": 0.9976, "cm": 0.9692}),
        ("EleutherAI/gpt-j-6B", "rome", "hard", {"succ": 0.998, "distortion_released": 0.1395, "ir": 0.7898}),
        (
            "gpt-j",
            "memit+mle",
            "easy",
            {"succ": 0.9396, "distortion_released": 0.0211, "ir": 0.0248, "fr": 0.008},
        ),
    ],
)
def test_known_cells(model: str, editor: str, suite: str, metrics: dict[str, float]) -> None:
    figures = published(model, editor, suite)
    assert figures is not None
    assert {name: figures.metrics[name] for name in metrics} == pytest.approx(metrics)


@pytest.mark.parametrize(("suite", "kind", "model", "editor"), EVERY)
def test_every_row_is_there_and_fits_its_metrics(suite: str, kind: str, model: str, editor: str) -> None:
    figures = published(model, editor, suite)
    assert figures is not None
    assert figures.n == (2000 if (model, suite) == ("gpt2-xl", "composite") else 2500)
    for name, value in figures.metrics.items():
        metric = metric_of(kind, name)
        assert metric is not None
        assert value <= metric.high
        assert metric.low is None or value >= metric.low


@pytest.mark.parametrize(("suite", "kind", "model", "editor"), EVERY)
def test_counts_are_whole_numbers_of_cases_except_where_remarked(
    suite: str, kind: str, model: str, editor: str
) -> None:
    """A share of n cases is a multiple of 1/n: a transcription error would show here."""
    figures, data = published(model, editor, suite), pitfall_of(kind).published
    assert figures is not None
    assert data is not None
    for name, value in figures.metrics.items():
        metric = metric_of(kind, name)
        assert metric is not None
        if metric.is_binary and (suite, model, editor, name) not in data.remarks:
            count = value * figures.n
            # Printed with two decimals of a per cent.
            assert abs(count - round(count)) <= figures.n * 0.00005 + 1e-9
            assert round(round(count) / figures.n, 4) == pytest.approx(value, abs=1e-9)


def test_what_was_not_published_is_none() -> None:
    assert published("smollm2-135m", "rome", "reverse") is None
    assert published("gpt2-xl", "memit+mle", "reverse") is None
    assert published("gpt2", "rome", "reverse") is None
