"""Part ``moments``: the whole path on tiny models."""

from __future__ import annotations

import pytest
from benchmarks import moments

from pytest_editpitfalls.engine.forward import Forward
from pytest_editpitfalls.engine.session import EngineSession

AMOUNT = moments.Amount(documents=2, rounds=2, widths=(1100,))


def test_every_way_is_measured(tiny_session: EngineSession) -> None:
    figures = moments.measure_session(tiny_session, AMOUNT)
    assert figures["layers"] == [0, 2]
    assert set(figures["passes"]) == {"bare", "one_layer", "five_layers"}
    assert figures["passes"]["bare"]["overhead"] == 1.0
    for own in figures["passes"].values():
        assert own["tokens_per_second"] > 0
    rate = figures["passes"]["five_layers"]["tokens_per_second"]
    assert figures["extrapolated"]["hours"] == pytest.approx(70e6 / rate / 3600, abs=0.01)
    assert [own["d_k"] for own in figures["factorisations"]] == [figures["d_k"], 1100]
    large = figures["factorisations"][1]
    assert large["read_seconds"] < large["cholesky_seconds"], "the factor was computed, not read"
    text = moments.render(figures)
    assert "| second moment of that layer | " in text
    assert "| 1,100 | " in text


def test_both_ways_run_the_same_rows(tiny_session: EngineSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ratio says something only where the same tokens ran up to the same layer."""
    ran, blocks = list[tuple[int, ...]](), Forward.blocks

    def watched(self: Forward, rows: moments.Rows, **options: int) -> object:
        ran.append((*rows.ids.flatten().tolist(), options["last"]))
        return blocks(self, rows, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Forward, "blocks", watched)
    moments.measure_session(tiny_session, moments.Amount(documents=2, rounds=1, widths=()))
    assert len(ran) == 6  # each way once to warm up, once by the clock
    assert len(set(ran)) == 1
