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


def test_probabilities_agree_with_the_released_code(session: EngineSession) -> None:
    suites = agreement.SETUPS["rome"].suites(GOLDEN)
    results = [agreement.compare(session, GOLDEN, DATA, suite) for suite in suites]
    total = agreement.together(results)
    assert len(total.base) + len(total.edited) > 2000
    assert max(total.base) <= agreement.BASE_BOUND
    assert total.median <= agreement.MEDIAN_BOUND
    assert total.p95 <= total.p95_bound
    assert total.excluded == ("P22-P40-00002",)


def test_memit_and_multi_label_edit_agree_with_the_released_code() -> None:
    """One suite of each kind of edit; `python -m benchmarks.agreement --editor NAME` runs them all."""
    for editor, suite in (("memit-2000", "reverse"), ("memit-15000", "hard_multi")):
        found = agreement.compare(agreement.open_session(GOLDEN, editor), GOLDEN, DATA, suite, editor)
        assert found.within, (editor, suite, found.median, found.p95)
        assert len(found.edited) > 200


def test_the_second_moment_is_the_released_one(session: EngineSession) -> None:
    session.describe("rome")
    editor = session._prepared("rome", lambda _: None)
    record = editor.describe()["second_moment"]
    assert record["tokens"] == 68_573
    assert record["trace"] == pytest.approx(64.9172, rel=1e-5)
    assert record["frobenius_norm"] == pytest.approx(16.6143, rel=1e-5)
