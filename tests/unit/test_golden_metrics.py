"""The released code's own probabilities, read as our programs' answers."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from benchmarks.agreement import ROUND_STATES, STAGES, SUITES

from pytest_editpitfalls.pitfalls import Case, compile_case, compute_metrics
from pytest_editpitfalls.program import ProbeScore
from pytest_editpitfalls.suites import load_suite

CONFLICT_STAGES = {stage: place for stage, place in STAGES.items() if stage != "CS_pre"}  # CM_post under another name
GIVEN = [
    (editor, suite)
    for editor in ("ROME", "FT", "MEMIT-2000", "MEMIT-15000")
    for suite in SUITES
    if (editor, suite) != ("MEMIT-2000", "hard") and (editor == "MEMIT-15000" or not suite.endswith("_multi"))
]
"""The editors and suites of which there are golden numbers."""

ADDED_FACTS = {"replaced", "replaced_2", "old_imp"}
ADDED_STATES = {"0", "2"}

ROUND_SUITES = ("easy", "hard", "easy_multi", "hard_multi")  # multi: Multi-Label Edit


def stages(suite: str, record: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the record's figures under our names of facts and states."""
    if suite in ROUND_SUITES:
        found = {}
        for stage, state in ROUND_STATES.items():
            new, true = ("new_object", "object") if stage == "edit1" else ("object", "new_object")
            found[new, state] = record[stage]["target_new"]
            found[true, state] = record[stage]["target_true"]
            for index, other in enumerate(record[stage].get("others", [])):
                found[f"other:{index}", state] = other
        return found
    wanted = dict(CONFLICT_STAGES)
    if suite == "coverage":
        # There the implicit fact is the explicit one.
        assert record["CS_post_implicit"] == record["CS_post_explicit"]
        del wanted["CS_post_implicit"]
    return {name: record[stage] for stage, name in wanted.items() if stage in record}


def answers(suite: str, record: dict[str, Any]) -> list[ProbeScore]:
    return [
        ProbeScore(fact, state, (figures["rewrite"], *figures["generation"]))
        for (fact, state), figures in stages(suite, record).items()
    ]


def records(golden: Path, editor: str, suite: str) -> list[dict[str, Any]]:
    path = golden / f"{editor}_{suite}.json"
    if not path.is_file():
        pytest.skip(f"no {path.name}")
    loaded: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return loaded


def mean(figures: dict[str, Any]) -> float:
    return fmean([figures["rewrite"], *figures["generation"]])


RELEASED_METRICS = {
    "reverse": {"cs_exp", "cs_imp", "cm", "cm_unclamped"},
    "composite": {"cs_exp", "cs_imp", "cm", "cm_unclamped", "tfd", "tfd_released", "tfd_edit1"},
    "coverage": {"cs_exp", "cm", "cm_unclamped", "succ_released"},
}


@pytest.mark.parametrize("suite", SUITES)
def test_our_programs_ask_what_the_released_code_asked(golden: Path, published: Path, suite: str) -> None:
    cases: tuple[Case, ...] = load_suite(published / "GPT2-XL" / SUITES[suite]).cases
    multi = suite.endswith("_multi")
    for record in records(golden, "MEMIT-15000" if multi else "ROME", suite):
        probes = compile_case(cases[record["case"]], multi_label=multi).probes
        released = stages(suite, record)
        ours = {(probe.fact, probe.state) for probe in probes}
        # the released code does not ask whether the edits took in a conflict case, nor for any control
        assert ours >= set(released)
        assert all(fact in ADDED_FACTS or state in ADDED_STATES for fact, state in ours - set(released))
        assert {len(probe.prompts) for probe in probes} == {
            1 + len(figures["generation"]) for figures in released.values()
        }


@pytest.mark.parametrize(("editor", "suite"), GIVEN)
def test_metrics_follow_the_released_summary(golden: Path, editor: str, suite: str) -> None:
    for record in records(golden, editor, suite):
        kind: Any = "round" if suite in ROUND_SUITES else suite
        ours = compute_metrics(kind, answers(suite, record))
        if kind != "round":  # what the released code did not ask is unknown
            assert (ours["es"], ours["ps"], ours["cs_exp_0"], ours["cs_exp_lift"]) == (None,) * 4
            ours = {name: value for name, value in ours.items() if name in RELEASED_METRICS[kind]}
            assert set(ours) == RELEASED_METRICS[kind]
        else:
            new, true = record["edit1"]["target_new"], record["edit1"]["target_true"]
            assert ours["es"] == (new["rewrite"] > true["rewrite"])
            pairs = zip(new["generation"], true["generation"], strict=True)
            assert ours["ps"] == pytest.approx(fmean(a > b for a, b in pairs))
        assert None not in ours.values()
        if kind == "round":
            start, after1, after2 = record["model"], record["edit1"], record["edit2"]
            lost = [mean(a) > mean(b) for a, b in zip(start["others"], after2["others"], strict=True)]
            assert ours["ir"] == pytest.approx(fmean(lost))
            assert ours["fr"] == (fmean(lost) > 0.5)
            wins = [mean(after["target_new"]) > mean(after["target_true"]) for after in (after1, after2)]
            assert ours["succ"] == fmean(wins)
            assert ours["distortion"] == pytest.approx((ours["distortion_released"] or 0) * (1 + len(after2["others"])))
            continue
        old1, old12 = mean(record["CM_pre"]), mean(record["CM_post"])
        assert record["CS_pre"] == record["CM_post"], "both are the old fact after both edits"
        assert ours["cm_unclamped"] == pytest.approx((old1 - old12) / old1)
        assert ours["cm"] == pytest.approx(max((old1 - old12) / old1, -1))
        assert ours["cs_exp"] == (mean(record["CS_post_explicit"]) > old12)
        if kind != "coverage":
            assert ours["cs_imp"] == (mean(record["CS_post_implicit"]) > old12)
        else:
            assert ours["succ_released"] == (mean(record["S_post"]) > mean(record["S_pre"]))
        if kind == "composite":
            start, one, both = (mean(record[stage]) for stage in ("fact_0", "fact_1", "fact_2"))
            assert ours["tfd_released"] == pytest.approx((start - both) / start)
            assert ours["tfd"] == pytest.approx((one - both) / one)


@pytest.mark.parametrize(
    ("editor", "suite", "wins"),
    [
        ("ROME", "coverage", {"cs_exp": 10}),
        ("ROME", "reverse", {"cs_exp": 6, "cs_imp": 0}),
        ("ROME", "composite", {"cs_exp": 8, "cs_imp": 3}),
        ("ROME", "easy", {"succ": 10, "fr": 3}),
        ("ROME", "hard", {"succ": 9.5, "fr": 4}),
        ("MEMIT-2000", "coverage", {"cs_exp": 10}),
        ("MEMIT-2000", "reverse", {"cs_exp": 6, "cs_imp": 0}),
        ("MEMIT-2000", "composite", {"cs_exp": 8, "cs_imp": 3}),
        ("MEMIT-2000", "easy", {"succ": 10, "fr": 1}),
        ("MEMIT-15000", "easy_multi", {"succ": 6.5, "fr": 0}),
        ("MEMIT-15000", "hard_multi", {"succ": 7, "fr": 0}),
    ],
)
def test_five_cases_fit_the_released_summary_of_ten(
    golden: Path, editor: str, suite: str, wins: dict[str, float]
) -> None:
    """The released summary counts ten cases; the five here must leave the other five between 0 and 5 of each."""
    found = records(golden, editor, suite)
    kind: Any = "round" if suite in ROUND_SUITES else suite
    for name, of_ten in wins.items():
        values = [compute_metrics(kind, answers(suite, record))[name] for record in found]
        assert len(values) == 5
        assert 0 <= of_ten - sum(value for value in values if value is not None) <= 5
