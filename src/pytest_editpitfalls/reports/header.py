"""The lines above the test session: what is edited, in which model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .escaping import visible

if TYPE_CHECKING:
    from pytest_editpitfalls.state import RunState


def header(state: RunState) -> list[str]:
    """Return the lines for pytest's header."""
    run = state.run
    suites = ", ".join(suite.name for suite in state.selection.suites)
    text = f"pitfalls: {', '.join(run.editors)} on {', '.join(run.models)}, device {run.device}"
    if suites:
        text += f", suites {suites}"
    if run.limit is not None:
        text += f", at most {run.limit} cases each"
    return [
        visible(text),
        *(
            f"pitfalls: {short} belongs to another plugin or conftest here; use --pitfalls-{short[2:]}"
            for short in run.short_forms_taken
        ),
    ]
