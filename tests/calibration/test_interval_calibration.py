"""The simulation of intervals: populations have the mean that they say, the promise holds, a broken one is seen.

The former intervals, Wilson's and BCa, are simulated beside the new ones: what was wrong with them stays to be seen.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from reports.report_samples import results as sample_results

from pytest_editpitfalls.calibration import case_values, intervals
from pytest_editpitfalls.calibration.case_values import (
    RELATIONS,
    SUBJECTS,
    Population,
    Structure,
    invented,
    published,
    share,
    share_by_relation,
    stored,
)
from pytest_editpitfalls.calibration.intervals import FLOOR, CoverageRecord, calibrate_intervals, simulate
from pytest_editpitfalls.cli.calibrate_intervals import coverage_markdown
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.statistics.intervals import Interval

CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus"
DOCS = Path(__file__).resolve().parents[2] / "docs"
ALONE = Structure("cases of their own", (1,) * 2000, is_relations=False)
(IR,) = [population for population in invented() if "like IR" in population.name]


@pytest.mark.parametrize("population", [*invented(), share_by_relation(0.9)], ids=lambda each: each.name)
def test_a_population_has_the_mean_that_it_says(population: Population) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(20_000), 3)
    for correlation in (0.0, 0.3):
        values = population.sample(generator, labels, correlation)
        assert values.mean() == pytest.approx(population.mean, abs=5 * values.std() / 20_000**0.5)
        assert population.low is None or values.min() >= population.low
        assert population.high is None or values.max() <= population.high
    by_cluster = (values - values.mean()).reshape(-1, 3)
    pairs = (by_cluster.sum(axis=1) ** 2 - (by_cluster**2).sum(axis=1)).mean() / 6
    if "logit" not in population.name:
        assert pairs / values.var() == pytest.approx(0.3, abs=0.05)


def test_the_known_structure_is_that_of_the_published_composite_file() -> None:
    assert (sum(SUBJECTS.sizes), len(SUBJECTS.sizes), max(SUBJECTS.sizes)) == (2000, 1113, 116)
    generator = np.random.default_rng(0)
    labels = SUBJECTS.sample(generator, 2000)
    assert sorted(np.bincount(labels)) == sorted(SUBJECTS.sizes)
    few = SUBJECTS.sample(generator, 50)
    assert len(few) == 50
    assert set(few) == set(range(few.max() + 1))


# The counter-examples: the former intervals as they were found, and those of today --------------------------------


def test_four_cases_of_a_rate_that_is_mostly_one() -> None:
    """BCa covered half of the time and had no width in half of the samples."""
    values = Population("IR", 0.0, 1.0, False, 0.85, case_values._clustered(_mostly_one))
    record = simulate(values, ALONE, 0.0, 4, 400, seed=1, former=True)
    assert record.former_coverage is not None
    assert record.former_flat is not None
    assert record.former_coverage < 0.6
    assert record.former_flat > 0.4
    assert record.coverage >= FLOOR
    assert record.flat == 0.0


def _mostly_one(generator: np.random.Generator, size: int) -> np.ndarray:
    return np.where(generator.random(size) < 0.85, 1.0, 0.0)


@pytest.mark.parametrize(("correlation", "before"), [(0.1, 0.82), (0.3, 0.65)])
def test_subjects_whose_cases_go_wrong_together(correlation: float, before: float) -> None:
    """Wilson's interval took 2,000 cases of 1,113 subjects for independent."""
    record = simulate(share(0.5), SUBJECTS, correlation, 2000, 400, seed=2, former=True)
    assert record.former_coverage == pytest.approx(before, abs=0.07)
    assert record.coverage >= FLOOR
    assert record.width is not None
    assert record.width < 0.1


def test_relations_that_differ() -> None:
    """Wilson's interval holds the mean of other relations of the same sort in 43 % of the samples."""
    record = simulate(share_by_relation(0.5), RELATIONS[0], None, 2000, 400, seed=3, former=True)
    assert record.former_coverage == pytest.approx(0.43, abs=0.06)
    assert record.coverage >= FLOOR
    assert record.width is not None
    assert record.width < 0.25


def test_a_tail_that_no_case_shows_is_missed() -> None:
    """Nothing helps against that; docs/intervals.md says so."""

    def rarely_far(generator: np.random.Generator, size: int) -> np.ndarray:
        return np.where(generator.random(size) < 0.02, -20.0, generator.normal(0.3, 0.2, size))

    values = Population("rarely far", None, 1.0, False, 0.98 * 0.3 - 0.4, case_values._clustered(rarely_far))
    few, many = (simulate(values, ALONE, 0.0, cases, 300, seed=5) for cases in (100, 200))
    assert few.coverage == pytest.approx(0.85, abs=0.07)
    assert many.coverage == pytest.approx(0.96, abs=0.03)


# The simulation itself ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cases", [4, 10, 50, 200])
def test_the_promise_holds(cases: int) -> None:
    records = [simulate(population, SUBJECTS, 0.3, cases, 200, seed=4) for population in invented()]
    assert [record.population for record in records if record.coverage < FLOOR - 2 * record.error] == []
    assert all(record.holds for record in records)
    assert all(record.flat == 0.0 for record in records)


@pytest.mark.parametrize("sizes", [(3,) * 2 + (2,) * 9 + (1,) * 28, (30,) + (1,) * 20, (20,) * 3])
@pytest.mark.parametrize("correlation", [0.6, 1.0])
def test_the_promise_holds_where_cases_of_a_subject_are_nearly_one(sizes: tuple[int, ...], correlation: float) -> None:
    structure = Structure("few", sizes, is_relations=False)
    for population in (share(0.9), IR):
        record = simulate(population, structure, correlation, sum(sizes), 150, seed=6)
        assert record.coverage >= FLOOR, record


def test_intervals_that_are_too_narrow_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(values: list[float], *_: object, **__: object) -> Interval:
        mean = sum(values) / len(values)
        return Interval(mean - 0.01, mean + 0.01, "bounded", 50.0, 50)

    monkeypatch.setattr(intervals, "mean_interval", narrow)
    record = simulate(share(0.9), SUBJECTS, 0.0, 50, 100, seed=0)
    assert record.coverage < 0.5
    assert not record.holds


def test_a_missing_end_counts_as_infinitely_far_out() -> None:
    (ratio,) = [population for population in invented() if population.name == "log-ratio"]
    record = simulate(ratio, SUBJECTS, 0.0, 4, 20, seed=0)
    assert (record.coverage, record.open, record.width) == (1.0, 1.0, None)
    assert record.methods == {"none": 20}


def test_the_same_seed_gives_the_same_figures() -> None:
    first, again, other = (simulate(IR, SUBJECTS, 0.1, 50, 30, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_stored_runs_become_populations() -> None:
    run = NamedRun("a", sample_results())
    found = {population.name.split()[1]: population for population in stored([run])}
    values = [case.metrics["cs_exp"] for case in run.results.cases if case.metrics.get("cs_exp") is not None]
    assert found["cs_exp"].mean == pytest.approx(np.mean(values))
    assert found["cs_exp"].is_binary
    assert found["cm_unclamped"].low is None
    for case in run.results.cases:
        case.metrics = dict.fromkeys(case.metrics, 0.5)
    with pytest.raises(UsageError, match="no metric of the runs differs"):
        stored([run])


def test_published_files_give_their_structures(tmp_path: Path) -> None:
    folder = tmp_path / "GPT2-XL"
    folder.mkdir()
    shutil.copy(CORPUS / "reverse_edit.json" / "seed.json", folder / "reverse_edit.json")
    shutil.copy(CORPUS / "conflict_prompts.json" / "seed.json", folder / "conflict_prompts.json")
    for named in (folder, tmp_path):
        found = published(named)
        assert [structure.name for structure in found if structure.is_relations] == ["reverse (GPT2-XL), relations"]
    records = calibrate_intervals((), found, cases=[sum(found[-1].sizes), 10**6], replications=10)
    assert {record.structure for record in records} == {structure.name for structure in found}
    assert {record.cases for record in records} == {sum(found[-1].sizes)}
    with pytest.raises(UsageError, match="no files of the benchmark"):
        published(CORPUS / "easy.json")
    with pytest.raises(UsageError, match="cannot be read"):
        published(tmp_path / "absent")


# The page ----------------------------------------------------------------------------------------------------------


def figures(name: str) -> list[CoverageRecord]:
    lines = (DOCS / "images" / name).read_text("utf-8").splitlines()
    return [CoverageRecord.model_validate(json.loads(line)) for line in lines]


def test_the_page_shows_what_was_computed() -> None:
    text = (DOCS / "intervals.md").read_text("utf-8")
    now, before = figures("intervals.jsonl"), figures("intervals-former.jsonl")
    assert coverage_markdown(now) in text
    assert coverage_markdown(before) in text
    assert all(record.coverage >= FLOOR for record in (*now, *before))  # not only within the simulation's error
    assert all(record.flat == 0.0 for record in (*now, *before))
    assert {record.cases for record in now} == set(intervals.CASES)
    assert {record.correlation for record in now} == {*intervals.CORRELATIONS, None}
    assert sum(record.population.startswith("stored") for record in now) >= 100
    lowest = min(record.coverage for record in now)
    assert f"the lowest of the {len(now)} figures is {100 * lowest:.1f} %" in text
