"""How often does a run fail that changed nothing? A simulation of the whole decision: gates, cases, edit success.

A rerun of the same editor that differs in rounding and seeds alone: a case flips by chance, as often for the worse as
for the better. Runs are made up as records and judged by the same functions as a run of pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from pytest_editpitfalls.comparison.baseline import Baseline
from pytest_editpitfalls.comparison.pairing import compare
from pytest_editpitfalls.comparison.relative_gates import evaluate_relative_gates, parse_relative_gate
from pytest_editpitfalls.comparison.run_verdict import failing_gates, reasons_of
from pytest_editpitfalls.options.config import Inconclusive
from pytest_editpitfalls.results.aggregates import aggregate
from pytest_editpitfalls.results.record import Record
from pytest_editpitfalls.results.records import CaseRecord, ProbeRecord, RunResults
from pytest_editpitfalls.results.run_records import RunRecord, SuiteRecord
from pytest_editpitfalls.statistics.drops import LEVEL

from .gates import _error, _generator
from .populations import flips, uneven

if TYPE_CHECKING:
    from numpy.random import Generator

    from .populations import Population

SUITE, EDITOR, MODEL = "reverse", "editor", "model"
KINDS = {SUITE: "reverse"}


class RunCalibrationRecord(Record):
    """What became of the simulated reruns of one population."""

    population: str
    clusters: int
    cases: float = Field(description="cases of a run, on average")
    gates: list[str]
    inconclusive: Inconclusive
    drop: float = Field(default=0.0, description="true drop of the first metric")
    untaken: float = Field(default=0.0, description="share of cases whose edit no longer takes")
    replications: int
    gate_fails: float = Field(description="share of runs with a gate that fails")
    undecided: float = Field(description="share of runs with a gate that is inconclusive and none that fails")
    run_fails: float = Field(description="share of runs that fail, for whatever reason")
    run_fails_error: float = Field(description="standard error of that share")

    @property
    def holds(self) -> bool:
        """Whether no more than 5 % fail where nothing changed, by more than two standard errors."""
        return bool(self.drop or self.untaken) or self.run_fails <= LEVEL + 2 * max(
            self.run_fails_error, _error(LEVEL, self.replications)
        )


@dataclass(frozen=True)
class Rerun:
    """Two runs of one editor.

    Attributes:
        population: the flips of one metric.
        gates: gates relative to the first run, on metrics that flip independently of each other.
        drop: true drop of the first metric; 0: nothing changed.
        untaken: share of cases whose edit takes in the first run and does not in the second.
    """

    population: Population
    gates: tuple[str, ...] = ("reverse.cs_exp:2pp",)
    drop: float = 0.0
    untaken: float = 0.0


def calibrate_runs(
    *, replications: int = 1000, seed: int = 0, progress: Callable[[RunCalibrationRecord], None] | None = None
) -> list[RunCalibrationRecord]:
    """Simulate reruns without a change under every meaning of an inconclusive gate that counts cases."""
    records = []
    for rerun, meaning in _reruns():
        record = simulate_runs(rerun, meaning, replications, seed)
        records.append(record)
        if progress is not None:
            progress(record)
    return records


def _reruns() -> Iterator[tuple[Rerun, Inconclusive]]:
    meanings: tuple[Inconclusive, ...] = ("cases", "excess")
    for meaning in meanings:
        for clusters in (20, 58, 200):
            for noise in (0.0005, 0.01, 0.05):
                yield Rerun(flips(clusters, noise=noise)), meaning
        for clusters, noise, margin in ((58, 0.01, 10), (58, 0.01, 20), (58, 0.05, 20), (200, 0.01, 10)):
            yield Rerun(flips(clusters, noise=noise), (f"reverse.cs_exp:{margin}pp",)), meaning
        yield Rerun(uneven(58, noise=0.01, correlation=0.3), ("reverse.cs_exp:2pp", "reverse.cs_imp:0")), meaning
        yield Rerun(flips(26, 2, noise=0.01, correlation=0.5)), meaning
        for clusters in (8, 58):
            yield Rerun(flips(clusters, noise=0.0005), drop=0.1), meaning
            yield Rerun(flips(clusters, noise=0.0005), untaken=0.5), meaning


def simulate_runs(rerun: Rerun, inconclusive: Inconclusive, replications: int, seed: int) -> RunCalibrationRecord:
    """Simulate reruns and judge each as a whole."""
    population = rerun.population
    generator = _generator(seed, f"{population.name} {population.clusters} {rerun.gates} {inconclusive}")
    gates = [parse_relative_gate(text, KINDS) for text in rerun.gates]
    fell = open_ = fails = cases = 0
    for _ in range(replications):
        there, here = _two_runs(rerun, generator)
        cases += len(here.cases)
        comparison = compare(Baseline.of(there), here)
        here.relative_gates = evaluate_relative_gates(
            gates, comparison, KINDS, seed=int(generator.integers(2**31)), aggregates=here.aggregates
        )
        failing = failing_gates(here, asked=rerun.gates, part_of=lambda *_: None, is_shard=False)
        reasons = reasons_of(here, comparison, is_gated=lambda _: True, inconclusive=inconclusive)
        fell += bool(failing)
        open_ += not failing and any(gate.verdict == "inconclusive" for gate in here.relative_gates)
        fails += bool(failing or reasons)
    return RunCalibrationRecord(
        population=population.name,
        clusters=population.clusters,
        cases=cases / replications,
        gates=list(rerun.gates),
        inconclusive=inconclusive,
        drop=rerun.drop,
        untaken=rerun.untaken,
        replications=replications,
        gate_fails=fell / replications,
        undecided=open_ / replications,
        run_fails=fails / replications,
        run_fails_error=_error(fails / replications, replications),
    )


def _two_runs(rerun: Rerun, generator: Generator) -> tuple[RunResults, RunResults]:
    """Return two runs whose probabilities all differ and whose cases flip as the population says."""
    names = list(dict.fromkeys(text.partition(".")[2].partition(":")[0] for text in rerun.gates))
    first, labels = rerun.population.sample(generator, rerun.drop)
    of_metric = {names[0]: first}
    for name in names[1:]:
        # the same clusters, other flips: metrics of the same cases
        of_metric[name] = _resampled(rerun.population, labels, generator)
    untaken = (generator.random(len(labels)) < rerun.untaken).tolist()
    sides: list[list[CaseRecord]] = [[], []]
    for place, label in enumerate(labels):
        usual = float(generator.random() < 0.7)  # of the cases that do not flip
        for side, cases in enumerate(sides):
            metrics: dict[str, float | None] = {
                name: _value(values[place], usual, side) for name, values in of_metric.items()
            }
            metrics["es"] = 0.0 if side and untaken[place] else 1.0
            cases.append(_case(place, label, metrics, side))
    return _run(sides[0]), _run(sides[1])


def _resampled(population: Population, labels: Sequence[int], generator: Generator) -> list[float]:
    """Return as many differences as there are labels."""
    values: list[float] = []
    while len(values) < len(labels):
        values += population.sample(generator, 0.0)[0]
    return values[: len(labels)]


def _value(difference: float, usual: float, side: int) -> float:
    if not difference:
        return usual
    return float((difference > 0) != bool(side))


def _case(place: int, label: int, metrics: dict[str, float | None], side: int) -> CaseRecord:
    return CaseRecord(
        id=f"c{place}",
        source_index=place,
        suite=SUITE,
        editor=EDITOR,
        model=MODEL,
        subject=f"s{label}",
        digest=f"{place}",
        outcome="passed" if all(metrics.values()) else "failed",
        metrics=metrics,
        probes=[ProbeRecord(fact="new_exp", state="12", probabilities=[0.5 + 1e-9 * side])],
    )


def _run(cases: list[CaseRecord]) -> RunResults:
    suite = SuiteRecord(
        name=SUITE, kind=KINDS[SUITE], format="own", source="", digest="", total=len(cases), selected=len(cases)
    )
    run = RunRecord(metric_definitions="simulated", suites=[suite])
    return RunResults(run=run, cases=cases, aggregates=aggregate(cases, KINDS))
