"""Where simulated values of cases come from: distributions whose mean is known, and clusters as uneven as real ones.

A population gives the values of single cases. A structure says which cases are of one cluster. Two cases of a cluster
are made alike by letting both take the cluster's common value by chance, which gives any population any correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_editpitfalls.errors import UsageError

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from pytest_editpitfalls.metrics.metric import Metric
    from pytest_editpitfalls.results.named import NamedRun

BETWEEN_RELATIONS = 0.3
"""Standard deviation of relations on the logit scale."""


Draw = Callable[["Generator", int], "NDArray[Any]"]
"""Draws so many independent values."""


@dataclass(frozen=True)
class Population:
    """Values of cases.

    Attributes:
        name: what they are, in words.
        low, high: range of a value; None where it has no end.
        is_binary: whether each is 0 or 1.
        mean: their true mean.
        sample: draws a value for each case; it gets the label of each one's cluster, 0 and up, and the correlation
            of two cases of a cluster.
    """

    name: str
    low: float | None
    high: float | None
    is_binary: bool
    mean: float
    sample: Callable[[Generator, NDArray[Any], float], NDArray[Any]]


def _clustered(draw: Draw) -> Callable[[Generator, NDArray[Any], float], NDArray[Any]]:
    """Return a sampler of values that are drawn by ``draw``, some of them once for the whole cluster."""

    def sample(generator: Generator, labels: NDArray[Any], correlation: float) -> NDArray[Any]:
        import numpy as np

        own = draw(generator, len(labels))
        if correlation == 0.0:
            return own
        common = draw(generator, int(labels.max()) + 1)[labels]
        return np.where(generator.random(len(labels)) < math.sqrt(correlation), common, own)

    return sample


@dataclass(frozen=True)
class Structure:
    """Which cases of a suite are of one cluster.

    Attributes:
        name: what the clusters are.
        sizes: cases of each cluster.
        is_relations: whether the clusters are relations, else subjects.
    """

    name: str
    sizes: tuple[int, ...]
    is_relations: bool

    @property
    def usual(self) -> float:
        """The size of the cluster that a case is usually in."""
        return sum(size * size for size in self.sizes) / sum(self.sizes)

    def sample(self, generator: Generator, cases: int) -> NDArray[Any]:
        """Return labels, 0 and up, of so many cases that are chosen by chance; all where there are no more."""
        import numpy as np

        labels = np.repeat(np.arange(len(self.sizes)), self.sizes)
        if cases < len(labels):
            labels = generator.choice(labels, cases, replace=False)
        return np.unique(labels, return_inverse=True)[1]


def _sizes(counts: Mapping[int, int]) -> tuple[int, ...]:
    return tuple(size for size, count in counts.items() for _ in range(count))


SUBJECTS = Structure(
    "composite (GPT2-XL), subjects",
    _sizes(
        {116: 1, 30: 1, 23: 1, 22: 1, 18: 1, 16: 2, 14: 1, 13: 2, 12: 2, 11: 1, 10: 2, 9: 4, 8: 9, 7: 9, 6: 11, 5: 11}
        | {4: 27, 3: 58, 2: 121, 1: 848}
    ),
    is_relations=False,
)
"""Cases by subject of edit 1 in the benchmark's composite file for GPT2-XL: size of a cluster -> clusters."""

RELATIONS = (
    Structure("composite (GPT2-XL), rules", (699, 549, 289, 187, 183, 68, 25), is_relations=True),
    Structure("reverse (GPT2-XL), rules", (762, 725, 704, 309), is_relations=True),
    Structure("coverage (GPT2-XL), relations", (708, 392, 379, 367, 359, 150, 145), is_relations=True),
)


def published(directory: Path) -> list[Structure]:
    """Return the structures of the benchmark's files in a directory, or in the directories below it.

    Where nearly every case has a subject of its own, the subjects are left out.

    Raises:
        UsageError: there is none, or a file is damaged.
    """
    from pytest_editpitfalls.suites.suite import load_suites

    folders = [folder for folder in (directory, *_below(directory)) if any(folder.glob("*_edit.json"))]
    if not folders:
        raise UsageError(
            f"'{directory}' has no files of the benchmark",
            where="--published",
            fix="name the folder that holds reverse_edit.json, composite_edit.json and the others, or the one above it",
        )
    found = []
    for folder in folders:
        paths = [str(path) for path in sorted(folder.glob("*.json")) if not path.stem.endswith("_prompts")]
        for suite in load_suites(paths):
            for kind, labels in (
                ("subjects", [case.edits[0].subject for case in suite.cases]),
                ("relations", [case.group for case in suite.cases]),
            ):
                name = f"{suite.source.stem.removesuffix('_edit')} ({folder.name}), {kind}"
                structure = Structure(name, tuple(_counts(labels)), is_relations=kind == "relations")
                if structure.is_relations or structure.usual > 1.1:
                    found.append(structure)
    return found


def _below(directory: Path) -> list[Path]:
    try:
        return sorted(each for each in directory.iterdir() if each.is_dir())
    except OSError as error:
        what = f"'{directory}' cannot be read: {error.strerror}"
        raise UsageError(what, where="--published", fix="name a directory that there is") from None


def _counts(labels: Iterable[str]) -> list[int]:
    counts: dict[str, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return sorted(counts.values(), reverse=True)


def share(p: float) -> Population:
    """Return a 0/1 metric that is 1 in a share ``p`` of the cases."""
    sample = _clustered(lambda generator, size: 1.0 * (generator.random(size) < p))
    return Population(f"0/1, p = {p:g}", 0.0, 1.0, True, p, sample)


def share_by_relation(p: float) -> Population:
    """Return a 0/1 metric whose share differs by cluster: normal on the logit scale, with the median ``p``."""
    import numpy as np

    def shares(normal: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = 1 / (1 + np.exp(-(math.log(p / (1 - p)) + BETWEEN_RELATIONS * normal)))
        return found

    def sample(generator: Generator, labels: NDArray[Any], correlation: float) -> NDArray[Any]:
        drawn = shares(generator.normal(size=int(labels.max()) + 1))[labels]
        values: NDArray[Any] = 1.0 * (generator.random(len(labels)) < drawn)
        return values

    points, weights = np.polynomial.hermite_e.hermegauss(64)
    mean = float(shares(points) @ weights / weights.sum())
    return Population(f"0/1, p = {p:g}, logit sd {BETWEEN_RELATIONS:g} between", 0.0, 1.0, True, mean, sample)


def invented() -> list[Population]:
    """Return populations in the shapes of the metrics."""

    def ignore_rate(generator: Generator, size: int) -> NDArray[Any]:
        facts = generator.integers(2, 9, size)
        return generator.binomial(facts, generator.beta(2.7, 0.3, size)) / facts

    def lift(generator: Generator, size: int) -> NDArray[Any]:
        values: NDArray[Any] = generator.choice([-1.0, 0.0, 1.0], size, p=[0.05, 0.75, 0.2])
        return values

    def scale(name: str, low: float | None, high: float | None, mean: float, draw: Draw) -> Population:
        return Population(name, low, high, False, mean, _clustered(draw))

    return [
        *(share(p) for p in (0.5, 0.9, 0.98)),
        scale("like IR, most are 1", 0.0, 1.0, 0.9, ignore_rate),
        scale("lift: -1, 0 or 1", -1.0, 1.0, 0.15, lift),
        scale("like D, nearly 0", 0.0, math.log(2), 0.02, lambda generator, size: generator.beta(0.5, 24.5, size)),
        scale("log-ratio", None, None, -0.5, lambda generator, size: generator.laplace(-0.5, 1.0, size)),
        scale(
            "relative loss, long tail",
            None,
            1.0,
            1 - math.exp(-0.5),
            lambda generator, size: 1 - generator.lognormal(-1.0, 1.0, size),
        ),
    ]


def stored(runs: Sequence[NamedRun]) -> list[Population]:
    """Return a population for each metric of the runs: its values in all suites, of all editors, drawn again.

    Metrics that are the same in every case are left out.

    Raises:
        UsageError: no metric is left.
    """
    from pytest_editpitfalls.pitfalls import METRICS

    values: dict[str, list[float]] = {}
    for run in runs:
        for case in run.results.cases:
            for name, value in case.metrics.items() if case.is_scored else ():
                if value is not None and name in METRICS:
                    values.setdefault(name, []).append(value)
    found = [_resampled(METRICS.get(name), part) for name, part in values.items() if min(part) < max(part)]
    if not found:
        raise UsageError(
            "no metric of the runs differs from case to case", where="RUN", fix="name a run of an editor that edits"
        )
    return found


def _resampled(metric: Metric, values: Sequence[float]) -> Population:
    import numpy as np

    pool = np.asarray(values)
    return Population(
        f"stored, {metric.name} ({len(values):,} values)",
        metric.low,
        metric.high,
        metric.is_binary,
        math.fsum(values) / len(values),
        _clustered(lambda generator, size: generator.choice(pool, size)),
    )
