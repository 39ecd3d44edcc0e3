"""Answers of different ways to the same programs: all there, and how far apart."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from math import log
from typing import Any

from pytest_editpitfalls.engine.isolation import ONE_BY_ONE
from pytest_editpitfalls.errors import CaseError
from pytest_editpitfalls.program import CaseScores


def checked(answers: list[CaseScores]) -> list[CaseScores]:
    """The answers, all of them computed, together; raises `CaseError` where not: their time would say nothing."""
    for answer in answers:
        alone = next((note for note in answer.notes if ONE_BY_ONE in note), None)
        if alone is not None:
            raise CaseError(f"the batch cannot be measured: {alone}", where=answer.case_id, fix="report it")
        if answer.error or answer.skipped:
            raise CaseError(
                f"the case cannot be measured: {answer.error or answer.skipped}",
                where=answer.case_id,
                fix="measure with another model (--model)",
            )
    return answers


def differences(a: Sequence[CaseScores], b: Sequence[CaseScores]) -> dict[str, Any]:
    """|difference of log-probability| over all states, facts and prompts that both answered.

    Returns:
        "values" (their number), "median" and "max".
    """
    found = [
        abs(_log(p) - _log(q))
        for first, second in zip(a, b, strict=False)
        for mine, theirs in zip(first.probes, second.probes, strict=True)
        for p, q in zip(mine.probabilities, theirs.probabilities, strict=True)
    ]
    return {"values": len(found), "median": statistics.median(found), "max": max(found)}


def _log(probability: float) -> float:
    return log(max(probability, sys.float_info.min))
