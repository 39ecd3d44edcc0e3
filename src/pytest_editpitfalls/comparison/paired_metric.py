"""One metric of paired cases: its means on both sides, and what can be said of how much worse it got."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_editpitfalls.metrics.metric import Metric
from pytest_editpitfalls.statistics.drops import PairedDrop
from pytest_editpitfalls.statistics.seeded_drops import SeededDrop

from .pairing import Pair


@dataclass(frozen=True)
class PairedMetric:
    """A metric over the cases that have a value on both sides.

    Attributes:
        base: mean in the baseline.
        now: mean here.
        n: cases.
        drop: the differences.
        seeds: labels of the editor under the seeds that both sides have; one where there are not several.
    """

    base: float
    now: float
    n: int
    drop: PairedDrop
    seeds: tuple[str, ...] = ()

    @classmethod
    def of(cls, metric: Metric, group: tuple[str, str, str], pairs: Sequence[Pair], seed: int) -> PairedMetric | None:
        """Return the metric of a group's pairs, or None where none of them has a value on both sides.

        Of several seeds, a case counts where it has a value on both sides under each of them, by its mean.

        Args:
            group: (suite, editor, model) of the pairs; the editor is without a seed where there are several.
            seed: seed of the run.
        """
        known = [(pair, there, here) for pair in pairs for there, here in [pair.values(metric.name)]]
        both = [(pair, there, here) for pair, there, here in known if there is not None and here is not None]
        if not both:
            return None
        is_identical = all(pair.is_identical and there == here for pair, there, here in both)
        text = "\0".join([str(seed), metric.name, *group])
        labels = tuple(dict.fromkeys(pair.key[1] for pair in pairs))
        if len(labels) > 1:
            return cls._of_seeds(metric, both, labels, text, is_identical=is_identical)
        sides = [(pair.cluster, there, here) for pair, there, here in both]
        return cls(
            base=math.fsum(there for _, there, _ in sides) / len(sides),
            now=math.fsum(here for _, _, here in sides) / len(sides),
            n=len(sides),
            drop=PairedDrop.of(metric, sides, text, is_identical=is_identical),
            seeds=labels,
        )

    @classmethod
    def _of_seeds(
        cls,
        metric: Metric,
        both: Sequence[tuple[Pair, float, float]],
        labels: tuple[str, ...],
        text: str,
        *,
        is_identical: bool,
    ) -> PairedMetric | None:
        cases: dict[str, dict[str, tuple[Pair, float, float]]] = {}
        for found in both:
            _, label, _, case_id = found[0].key
            cases.setdefault(case_id, {})[label] = found
        whole = [[by_label[label] for label in labels] for by_label in cases.values() if len(by_label) == len(labels)]
        if not whole:
            return None
        sides = [(row[0][0].cluster, [there for _, there, _ in row], [here for _, _, here in row]) for row in whole]
        values = len(whole) * len(labels)
        return cls(
            base=math.fsum(value for _, there, _ in sides for value in there) / values,
            now=math.fsum(value for _, _, here in sides for value in here) / values,
            n=len(whole),
            drop=SeededDrop.of_seeds(metric, sides, text, is_identical=is_identical),
            seeds=labels,
        )
