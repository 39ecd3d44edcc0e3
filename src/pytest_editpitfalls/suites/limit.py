"""A smaller suite that stands for the whole one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.errors import UsageError


def limit_cases(cases: Sequence[Case], n: int) -> tuple[Case, ...]:
    """Return ``n`` of ``cases``, in file order, with every group in proportion to its size.

    Groups take turns in the order of the Sainte-Laguë divisor method: the i-th case of a group with m cases has
    the rank (2i + 1) / m, and the n smallest ranks are taken. The choice is deterministic, and a smaller
    limit selects a subset of what a larger one selects.

    Raises:
        UsageError: ``n`` is below 1.
    """
    if n < 1:
        raise UsageError(f"a limit of {n} leaves no case", where="--pitfalls-limit", fix="give a number of 1 or more")
    if n >= len(cases):
        return tuple(cases)
    sizes = Counter(case.group for case in cases)
    seen: Counter[str] = Counter()
    ranked: list[tuple[float, int]] = []
    for index, case in enumerate(cases):
        ranked.append(((2 * seen[case.group] + 1) / sizes[case.group], index))
        seen[case.group] += 1
    return tuple(cases[index] for index in sorted(index for _, index in sorted(ranked)[:n]))
