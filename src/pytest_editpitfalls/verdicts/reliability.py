"""Sanity before science: does the editor edit at all? Where it does not, what it breaks says little.

Edit success (metric ``es``) of an editor on a model over a suite is held against a floor, by its 95 % interval: it is
reliable where the whole interval reaches the floor, unreliable where the whole interval lies under it, and where the
floor is inside, nobody can tell. Nothing here changes a metric, a threshold or a gate: it only says how far to trust
them.
"""

from __future__ import annotations

from collections.abc import Mapping


def percent(fraction: float) -> str:
    """Return a fraction as per cent in three digits ("34 %", "66.7 %")."""
    return f"{100 * fraction:.3g} %"


def is_reliable(low: float | None, high: float | None, floor: float) -> bool | None:
    """Return whether edit success reaches the floor, by the ends of its interval; None where that cannot be told."""
    if low is None or high is None:
        return None
    return True if low >= floor else False if high < floor else None


def unreliable_reason(editor: str, model: str, suites: Mapping[str, float], floor: float, *, figures: str) -> str:
    """Return why figures are unreliable, in one sentence.

    Args:
        editor: label of the editor.
        model: label of the model.
        suites: suite -> mean edit success, those under the floor.
        floor: the floor, a fraction.
        figures: which figures ("conflict", "distortion").
    """
    return f"{_edits(editor, model, suites)} (floor {percent(floor)}): its {figures} figures say little"


def doubtful_reason(editor: str, model: str, suites: Mapping[str, float], floor: float, *, figures: str) -> str:
    """As `unreliable_reason`, where there are too few cases to tell."""
    return (
        f"{_edits(editor, model, suites)}, too few cases to tell whether that is over or under the floor of "
        f"{percent(floor)}: its {figures} figures may say little"
    )


def _edits(editor: str, model: str, suites: Mapping[str, float]) -> str:
    shares = ", ".join(
        f"{percent(value)} {'of its facts ' if place == 0 else ''}in {suite}"
        for place, (suite, value) in enumerate(suites.items())
    )
    return f"{editor} on {model} edits {shares}"
