"""Cases whose facts the model does not hold before any edit: ``--pitfalls-held-only`` leaves them out."""

from __future__ import annotations

from pytest_editpitfalls.cases.case import Case
from pytest_editpitfalls.program import CaseScores

_OPTION = "left out by --pitfalls-held-only"


def unheld_reason(case: Case, scores: CaseScores) -> str | None:
    """Return why a case does not count as held, naming its facts; None where the model holds all of them."""
    if scores.held is True:
        return None
    sentences = {held.name: case.sentence(held.fact) for held in case.held}
    for answer, words in ((False, "the model does not hold"), (None, "it is not known whether the model holds")):
        facts = [f"'{sentences.get(name, name)}'" for name, held in scores.held_parts.items() if held is answer]
        if facts:
            return f"{words} {' and '.join(facts)}; {_OPTION}"
    return f"the suite offers no other object, so that nothing tells what the model holds; {_OPTION}"
