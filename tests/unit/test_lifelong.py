"""The lifelong kind: rows, the program, and its metrics on made-up probabilities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import Program, compile_case, compute_metrics, pitfall_of
from pytest_editpitfalls.pitfalls._neutral_texts import TEXTS
from pytest_editpitfalls.pitfalls.lifelong import STOPS, LifelongRow, state_after
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.suites import load_suite

EDITS = 12


def line(**changes: Any) -> dict[str, Any]:
    edits = [
        {"relation": "P36", "subject": f"Land {place}", "object": f"Old {place}", "new_object": f"New {place}"}
        for place in range(EDITS)
    ]
    others = [{"relation": "P36", "subject": f"Rest {place}", "object": f"Seat {place}"} for place in range(2)]
    return {"id": "set-1-0001", "rule": "set-1", "edits": edits, "others": others, **changes}


def written(folder: Path, *lines: dict[str, Any], paraphrases: int = 10) -> Path:
    words = [f"Version {number}: the capital of {{}} is" for number in range(paraphrases)]
    (folder / "relations.toml").write_text(
        f'[P36]\nlabel = "capital"\nprompt = "The capital of {{}} is"\nparaphrases = {json.dumps(words)}\n'
    )
    (folder / "many.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    (folder / "many.toml").write_text(
        'format = 1\nname = "many"\nkind = "lifelong"\nlicense = "CC0-1.0"\nprovenance = "for this test"\n'
        'relations = "relations.toml"\ncases = "many.jsonl"\n'
    )
    return folder / "many.toml"


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return compile_case(load_suite(written(tmp_path, line())).cases[0])


def test_states_are_prefixes_of_the_chain(program: Program) -> None:
    assert [len(step) for step in program.steps] == [1] * EDITS
    states = {state.name: state.steps for state in program.states}
    assert list(states) == ["0", "1", "after 2", "after 5", "after 10", "after 12", "again"]
    assert all(states[f"after {n}"] == tuple(range(n)) for n in (2, 5, 10, 12))
    assert states["again"] == (*range(12), 0)


def test_at_a_checkpoint_all_edits_so_far_are_asked(program: Program) -> None:
    asked: dict[str, set[str]] = {}
    for probe in program.probes:
        asked.setdefault(probe.state, set()).add(probe.fact)
    for stop in (2, 5, 10, 12):
        new = {fact for fact in asked[f"after {stop}"] if fact.startswith("new:")}
        assert new == {f"new:{place}" for place in range(stop)}
        assert {"other:0", "other:1", "drift", "text"} <= asked[f"after {stop}"]
    assert {fact for fact in asked["0"] if fact.startswith("old:")} == {f"old:{place}" for place in range(EDITS)}
    assert asked["again"] == {"new:0", "old:0"}
    first = {probe.state: len(probe.prompts) for probe in program.probes if probe.fact == "new:0"}
    assert first == {"0": 1, "1": 11, "after 2": 1, "after 5": 1, "after 10": 1, "after 12": 1, "again": 1}
    rephrased = [probe for probe in program.probes if probe.fact == "new_rephrased:3"]
    assert [(probe.state, len(probe.prompts)) for probe in rephrased] == [("0", 2), ("after 12", 2)]
    assert {len(probe.inputs) for probe in program.probes if probe.fact == "text"} == {len(TEXTS)}


def test_what_stays_is_held(program: Program) -> None:
    assert [question.name for question in program.held] == ["edit1", "other:0", "other:1"]


def test_own_checkpoints(tmp_path: Path) -> None:
    program = compile_case(load_suite(written(tmp_path, line(checkpoints=[3, 7]))).cases[0])
    assert [state.name for state in program.states] == ["0", "1", "after 3", "after 7", "after 12", "again"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoints": [5, 5]}, "they do not ascend"),
        ({"checkpoints": [13]}, "13 of 12 edits"),
        ({"checkpoints": [0]}, "0 of 12 edits"),
        ({"edits": line()["edits"][:1]}, "at least 2"),
        ({"edits": [*line()["edits"], {**line()["edits"][3], "new_object": "X"}]}, "'Land 3' is edited by edits.3"),
        ({"edits": [*line()["edits"], {**line()["edits"][3], "subject": "land  3"}]}, "is edited by edits.3"),
        ({"others": [{"relation": "P36", "subject": "Land 3", "object": "Old 3"}]}, "'Land 3' is edited"),
        ({"edits": [*line()["edits"][1:], {**line()["edits"][0], "new_object": "Old 0"}]}, "the present object"),
    ],
)
def test_a_row_that_is_no_chain_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_suite(written(tmp_path, line(**changes)))
    assert said in str(caught.value)
    assert "many.jsonl" in str(caught.value)


# --- metrics ------------------------------------------------------------------------------------------------------


def answers(holds: dict[str, set[int]], stops: tuple[int, ...] = (1, 2, 5, 10, 12), **more: Any) -> list[ProbeScore]:
    """An engine's answer where in each state just these edits hold."""
    scores = []
    for stop in (0, *stops):
        state = state_after(stop) if stop else "0"
        for place in range(stop or max(stops)):
            won = place in holds.get(state, set())
            scores.append(ProbeScore(f"new:{place}", state, (0.6 if won else 0.1,)))
            scores.append(ProbeScore(f"old:{place}", state, (0.3,)))
    again = 0 in holds.get("again", set())
    scores += [ProbeScore("new:0", "again", (0.6 if again else 0.1,)), ProbeScore("old:0", "again", (0.3,))]
    return [*scores, *more.get("scores", ())]


ALL = {state_after(stop): set(range(stop)) for stop in (1, 2, 5, 10, 12)}


def test_everything_that_stays_is_1() -> None:
    metrics = compute_metrics("lifelong", answers({**ALL, "again": {0}}))
    for name in ("es", "retention", "newest", "held_again", "retention_1", "retention_10"):
        assert metrics[name] == 1.0, name
    assert metrics["retention_0"] == metrics["retention_10_0"] == metrics["newest_0"] == 0.0
    assert metrics["retention_10_lift"] == 1.0
    assert "retention_20" not in metrics, "the case has no such checkpoint"
    assert "retention_100" not in metrics


def test_what_is_forgotten_is_counted() -> None:
    metrics = compute_metrics(
        "lifelong", answers({**ALL, "after 10": {0, 7, 9}, "after 12": {10, 11}, "0": {5}, "again": set()})
    )
    assert metrics["retention_10"] == pytest.approx(0.3)
    assert metrics["retention_10_0"] == pytest.approx(0.1)
    assert metrics["retention_10_lift"] == pytest.approx(0.2)
    assert metrics["retention_5"] == 1.0
    assert metrics["retention"] == pytest.approx(2 / 12)
    assert metrics["newest"] == 1.0
    assert metrics["held_again"] == 0.0


def test_newest_are_the_edits_that_were_just_made() -> None:
    metrics = compute_metrics("lifelong", answers({**ALL, "after 10": set(range(9)), "after 12": set(range(11))}))
    assert metrics["newest"] == pytest.approx(3 / 5)


def test_only_the_rewrite_prompt_tells_whether_an_edit_holds() -> None:
    """State 1 is asked with all prompts, the control with one: a mean over eleven would be held against one value."""
    new, old = (0.2, 0.9, 0.9), (0.5, 0.1, 0.1)
    scores = [
        *(ProbeScore("new:0", state, new[:prompts]) for state, prompts in (("0", 1), ("1", 3))),
        *(ProbeScore("old:0", state, old[:prompts]) for state, prompts in (("0", 1), ("1", 3))),
    ]
    metrics = compute_metrics("lifelong", scores)
    assert metrics["retention_1"] == metrics["newest"] == metrics["retention_1_lift"] == 0.0


def test_the_rest_of_the_model() -> None:
    scores = [
        *(ProbeScore(f"other:{place}", "0", (0.5, 0.5)) for place in range(4)),
        *(ProbeScore(f"other:{place}", "after 12", (0.5, 0.41 if place else 0.1)) for place in range(4)),
        ProbeScore("drift", "after 12", (0.1, 0.3), measure="divergence"),
        ProbeScore("text", "0", (10.0, 40.0), measure="perplexity"),
        ProbeScore("text", "after 12", (20.0, 20.0), measure="perplexity"),
    ]
    metrics = compute_metrics("lifelong", answers(ALL, scores=scores))
    assert metrics["others_kept"] == 0.75
    assert metrics["drift"] == pytest.approx(0.2)
    assert metrics["perplexity_ratio"] == pytest.approx(1.0)  # twice as high, and half as high


def test_unknown_is_none() -> None:
    without = [each for each in answers(ALL) if (each.fact, each.state) != ("new:3", "after 10")]
    metrics = compute_metrics("lifelong", without)
    assert metrics["retention_10"] is None
    assert metrics["retention_5"] == 1.0
    assert metrics["perplexity_ratio"] is None


@given(st.sets(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_a_further_edit_that_is_kept_never_lowers_retention(some: set[int], more: set[int]) -> None:
    fewer = compute_metrics("lifelong", answers({**ALL, "after 12": some}))["retention"]
    kept = compute_metrics("lifelong", answers({**ALL, "after 12": some | more}))["retention"]
    assert fewer is not None
    assert kept is not None
    assert fewer <= kept
    assert fewer == pytest.approx(len(some) / 12)


def test_every_stop_has_its_metric() -> None:
    names = {metric.name for metric in pitfall_of("lifelong").metrics}
    assert {f"retention_{stop}" for stop in STOPS} <= names
    assert STOPS[-1] == 10_000
    assert LifelongRow.model_fields["edits"].metadata
