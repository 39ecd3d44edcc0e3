"""The engine against the numbers of the benchmark's released code, on the embedded model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from benchmarks import agreement

from pytest_editpitfalls.engine.session import EngineSession

SHARED = Path(os.environ.get("EDITPITFALLS_SHARED", Path(__file__).parents[2].parent / "shared"))
GOLDEN, DATA = SHARED / "golden", SHARED / "data" / "pitfalls" / "GPT2-XL"

pytestmark = pytest.mark.skipif(
    not (GOLDEN.is_dir() and DATA.is_dir()),
    reason="the released code's numbers and the published files are not here",
)


@pytest.fixture(scope="module")
def session() -> EngineSession:
    return agreement.open_session(GOLDEN)


@pytest.mark.parametrize(
    ("editor", "suites", "cases", "values"),
    [
        ("rome", ("reverse", "composite", "coverage", "easy", "hard"), 3, 1200),
        ("memit-2000", ("reverse",), 2, 80),
        ("memit-15000", ("hard_multi",), 2, 150),
        ("ft-l", ("reverse",), 5, 220),
    ],
)
def test_probabilities_agree_with_the_released_code(
    session: EngineSession, editor: str, suites: tuple[str, ...], cases: int, values: int
) -> None:
    """Some cases of each file; `python -m benchmarks.agreement --editor NAME` runs them all."""
    opened = session if editor == "rome" else agreement.open_session(GOLDEN, editor)
    total = agreement.together([agreement.compare(opened, GOLDEN, DATA, suite, editor, cases) for suite in suites])
    assert len(total.base) + len(total.edited) >= values
    assert max(total.base, default=0.0) <= agreement.BASE_BOUND
    assert total.median <= agreement.MEDIAN_BOUND
    assert total.p95 <= total.p95_bound


def test_the_second_moment_is_the_released_one(session: EngineSession) -> None:
    session.describe("rome")
    editor = session.editors.prepared("rome", lambda _: None)
    record = editor.describe()["second_moment"]
    assert record["tokens"] == 68_573
    assert record["trace"] == pytest.approx(64.9172, rel=1e-5)
    assert record["frobenius_norm"] == pytest.approx(16.6143, rel=1e-5)
