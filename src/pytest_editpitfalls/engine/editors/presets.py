"""Published hyper-parameters of known models: the ``presets.toml`` in an editor's folder. Torch-free.

One table per model, under its short name. ``source`` is owner/repository/path of the published file; ``n_layers`` is
the model's number of blocks, so that a preset is never used for another model of the same name; everything else is a
hyper-parameter. A field that has the same value in every published file, such as the 100,000 Wikipedia articles in
float32 that second moments come from, is left to the field's default.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pytest_editpitfalls.engine.hyperparameters.toml import read_toml
from pytest_editpitfalls.engine.models.known import short_name_of

from .shipped import package_of, shipped_editors, shipped_names

FIRST = "rome"
"""Its presets stand first in lists: it is the editor that most others are compared with."""


@dataclass(frozen=True, slots=True)
class PresetRow:
    """One preset, for lists.

    Attributes:
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
        PresetRow(name, model, tuple(row.get("layers", ())), row["source"])
        for name in sorted((editor.name for editor in shipped_editors()), key=lambda name: name != FIRST)
        for model, row in sorted(_presets(name).items())
    ]


def preset_for(editor: str, model_name: str, n_layers: int) -> dict[str, Any] | None:
    """Return the published values for this model (key ``source`` names their file), or None.

    Args:
        model_name: short name, Hugging Face id, directory or GGUF file name of the model.
        n_layers: number of the model's blocks; a preset for another depth is for another model.
    """
    last = model_name.replace("\\", "/").rstrip("/").rpartition("/")[2].lower()
    row = dict(_presets(editor).get(short_name_of(model_name) or last, {}))
    return row if row.pop("n_layers", None) == n_layers else None


def preset_depth(model: str) -> int:
    """Number of blocks of a model that has a preset; raises KeyError for another short name."""
    for editor in shipped_names():
        if model in _presets(editor):
            return int(_presets(editor)[model]["n_layers"])
    raise KeyError(model)


@cache
def _presets(editor: str) -> dict[str, dict[str, Any]]:
    """By short name of the model; empty where the editor has none."""
    if editor not in shipped_names():
        return {}
    path = files(package_of(editor)).joinpath("presets.toml")
    return read_toml(path.read_text(encoding="utf-8")) if path.is_file() else {}
