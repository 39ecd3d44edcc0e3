"""Published hyper-parameters of known models, as data. Torch-free."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pytest_editpitfalls.engine.models.known import short_name_of


@dataclass(frozen=True, slots=True)
class PresetRow:
    """One preset, for lists.

    Attributes:
        editor: name of the editor.
        model: short name of the model.
        layers: blocks that it edits; empty where the editor does not choose any (or takes all).
        source: owner/repository/path of the published file.
    """

    editor: str
    model: str
    layers: tuple[int, ...]
    source: str


def presets_table() -> list[PresetRow]:
    """Every preset that ships, editor by editor, models in alphabetical order."""
    return [
        PresetRow(editor, model, tuple(row.get("layers", ())), row["source"])
        for editor, rows in _shipped()["presets"].items()
        for model, row in sorted(rows.items())
    ]


def preset_for(editor: str, model_name: str, n_layers: int) -> dict[str, Any] | None:
    """Return the published values for this model (key ``source`` names their file), or None.

    Args:
        editor: name of the editor ("rome").
        model_name: short name, Hugging Face id, directory or GGUF file name of the model.
        n_layers: number of the model's blocks; a preset for another depth is for another model.
    """
    last = model_name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    model = short_name_of(model_name) or last
    row = _shipped()["presets"].get(editor, {}).get(model)
    if row is None or _shipped()["n_layers"][model] != n_layers:
        return None
    return dict(row)


def preset_depth(model: str) -> int:
    """Number of blocks of a model that has a preset; raises KeyError for another short name."""
    return int(_shipped()["n_layers"][model])


@cache
def _shipped() -> dict[str, Any]:
    text = files(__package__).joinpath("presets.json").read_text(encoding="utf-8")
    shipped: dict[str, Any] = json.loads(text)
    return shipped
