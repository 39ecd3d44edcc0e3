"""Part ``chain``: the whole path on tiny models."""

from __future__ import annotations

import pytest
from benchmarks import chain

from pytest_editpitfalls.engine.session import EngineSession
from pytest_editpitfalls.engine.settings import Progress


def test_a_chain_is_measured_at_its_stops(tiny_session: EngineSession) -> None:
    figures = chain.measure_session(tiny_session, 12, ["rome"])
    own = figures["editors"]["rome"]
    assert [row["edits"] for row in own["stops"]] == [1, 2, 5, 10, 12]
    assert all(row["seconds_per_edit"] > 0 and row["memory_mb"] >= 0 for row in own["stops"])
    assert own["stops"][-1]["seconds"] <= own["seconds"]
    assert all(0 <= row["retention"] <= 1 for row in own["stops"])
    text = chain.render(figures)
    assert "### rome, one chain" in text
    assert "| 12 | " in text


def test_a_thousand_edits_are_there_and_no_two_of_a_subject() -> None:
    program = chain.program_of(1000, (1, 1000))
    subjects = [step[0].subject for step in program.steps]
    assert len(set(subjects)) == 1000
    assert all(step[0].target_new != step[0].target_true for step in program.steps)
    assert len(program.probes) == 2 * (1 + 1000)


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="subjects, not 10000000"):
        chain.program_of(10_000_000, (1,))


def test_the_clock_counts_edits() -> None:
    watch = chain.Watch(4)
    for done in (0, 10, 19, 20, 40, 80):
        watch(Progress("edit", done, 80))
    watch(Progress("score", 1, 2))
    assert sorted(watch.seconds) == [0, 1, 2, 4]
    assert watch.until(3) == watch.seconds[4]
