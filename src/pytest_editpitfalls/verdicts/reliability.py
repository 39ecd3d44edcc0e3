"""Sanity before science: does the editor edit at all? Where it does not, what it breaks says little.

Mean edit success (metric ``es``) of an editor on a model over a suite is held against a floor. Nothing here changes
a metric, a threshold or a verdict: it only says how far to trust them.
"""

from __future__ import annotations

from collections.abc import Mapping


def percent(fraction: float) -> str:
    """Return a fraction as per cent in three digits ("34 %", "66.7 %")."""
    return f"{100 * fraction:.3g} %"


def is_reliable(edit_success: float | None, floor: float) -> bool | None:
    """Return whether mean edit success reaches the floor; None when it is unknown."""
    return None if edit_success is None else edit_success >= floor


def unreliable_reason(editor: str, model: str, suites: Mapping[str, float], floor: float, *, figures: str) -> str:
    """Return why figures are unreliable, in one sentence.

    Args:
        editor: label of the editor.
        model: label of the model.
        suites: suite -> mean edit success, those under the floor.
        floor: the floor, a fraction.
        figures: which figures ("conflict", "distortion").
    """
    shares = ", ".join(
        f"{percent(value)} {'of its facts ' if place == 0 else ''}in {suite}"
        for place, (suite, value) in enumerate(suites.items())
    )
    return f"{editor} on {model} edits {shares} (floor {percent(floor)}): its {figures} figures say little"
