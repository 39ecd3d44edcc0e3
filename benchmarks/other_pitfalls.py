"""Cases of other pitfalls in part ``editing``: the reference on a few, ours on a batch that they are in."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.pitfalls import Program

from .answers import differences
from .programs import programs_of
from .tables import number, table
from .ways import AUTOMATIC, REFERENCE, Ways

SUITES = ("composite", "coverage", "hard", "ripple", "distraction")
"""Those whose cases ask for probabilities alone, which the reference can answer; part ``generation`` times the rest."""

CASES, OF_THEM = 8, 2
"""Cases of ours, in one batch, and how many of them the reference has."""


def measure(ways: Ways, suites: Collection[str]) -> dict[str, dict[str, Any]]:
    """Time both, half of the reference's cases before ours and half behind it; by suite."""
    return {suite: _measured(ways, programs_of(suite, CASES)) for suite in suites}


def _measured(ways: Ways, programs: Sequence[Program]) -> dict[str, Any]:
    try:
        return _timed(ways, programs)
    except CaseError as error:  # another model may be unable to score a case: the other suites count
        return {"error": str(error).splitlines()[0]}


def _timed(ways: Ways, programs: Sequence[Program]) -> dict[str, Any]:
    few = programs[:OF_THEM]
    expected, seconds = [], []
    for index, program in enumerate(few):
        started = time.perf_counter()
        expected += ways.run(REFERENCE, [program])
        seconds.append(time.perf_counter() - started)
        if index == (len(few) - 1) // 2:
            started = time.perf_counter()
            found = ways.run(AUTOMATIC, programs)
            ours = (time.perf_counter() - started) / len(programs)
    reference = sum(seconds) / len(seconds)
    return {
        "cases": len(programs),
        "reference_cases": len(few),
        "edits": max(len(program.steps) for program in programs),
        "prompts": round(sum(len(probe.probabilities) for each in expected for probe in each.probes) / len(few)),
        "reference_seconds_per_case": round(reference, 3),
        "seconds_per_case": round(ours, 3),
        "ratio": round(reference / ours, 2),
        "difference_of_log_p": differences(expected, found[: len(few)])["max"],
    }


def render(figures: dict[str, dict[str, Any]]) -> str:
    """A paragraph and a table."""
    header = ("suite", "edits", "prompts", "reference, s / case", "ours, s / case", "ratio", "largest difference")
    rows = [
        [
            suite,
            str(own["edits"]),
            number(own["prompts"], ",.0f"),
            number(own["reference_seconds_per_case"], ".2f"),
            number(own["seconds_per_case"], ".2f"),
            number(own["ratio"], ".1f", " x"),
            number(own["difference_of_log_p"], ".1e"),
        ]
        for suite, own in figures.items()
        if "error" not in own
    ]
    failed = [f"Not measured, {suite}: {own['error']}." for suite, own in figures.items() if "error" in own]
    text = (
        f"Cases of other pitfalls, {CASES} of each suite in one batch, {OF_THEM} of them by the reference. The ratio "
        "is of both means, so not all of its cases are the same. *Prompts* are those of a case in all its states, "
        "*largest difference* is of log-probability."
    )
    return "\n\n".join([text, table(header, rows), *failed])
