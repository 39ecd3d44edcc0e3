"""The properties of the editors that ship, as docs/editors.md has them.

``python -m pytest_editpitfalls.properties.table`` writes them. Torch-free: the table is made from what the editors
declare, and tests hold the declarations against the editors.
"""

from __future__ import annotations

from pytest_editpitfalls.engine.editors.shipped import shipped_editors

from .catalogue import PROPERTIES


def properties_markdown() -> str:
    """Return the table, and below it why an editor has not a property."""
    heading = ["--editor", *(each.name for each in PROPERTIES)]
    lines = [_line(heading), _line(["---"] * len(heading))]
    reasons: dict[str, list[str]] = {}
    for editor in shipped_editors():
        lines.append(
            _line([f"`{editor.name}`", *("no" if each.name in editor.violates else "yes" for each in PROPERTIES)])
        )
        for name, reason in editor.violates.items():
            reasons.setdefault(f"**{name}**: {reason}", []).append(f"`{editor.name}`")
    below = [f"- {reason} ({', '.join(names)})" for reason, names in sorted(reasons.items())]
    return "\n".join([*lines, "", *below]) + "\n"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    print(properties_markdown(), end="")
