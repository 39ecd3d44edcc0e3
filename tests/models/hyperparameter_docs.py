"""The generated part of docs/hyperparameters.md: what each field means and which presets there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from pytest_editpitfalls.engine.editors.presets import presets_table
from pytest_editpitfalls.engine.editors.shipped import shipped_editors
from pytest_editpitfalls.engine.fine_tuning.hyperparameters import FineTuningHyperparameters
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.engine.hyperparameters.module_names import ReleasedModuleNames
from pytest_editpitfalls.engine.locate_then_edit.hyperparameters import LocateThenEditHyperparameters

PAGE = Path(__file__).parents[2] / "docs" / "hyperparameters.md"
START, END = "<!-- generated: start -->", "<!-- generated: end -->"


SHARED: tuple[type[Hyperparameters], ...] = (
    FineTuningHyperparameters,
    LocateThenEditHyperparameters,
    ReleasedModuleNames,
)
"""Classes whose fields are described once."""


def title_of(kind: type[Hyperparameters]) -> str:
    """Which editors share the fields of ``kind``."""
    if kind is ReleasedModuleNames:
        return "Module names of released files, accepted by all of these"
    *most, last = (e.title for e in shipped_editors() if issubclass(e.hyperparameter_class(), kind))
    return f"Shared by {', '.join(most)} and {last}"


def shown(value: Any) -> str:
    """A value as TOML writes it, or nothing."""
    if value is None or value == []:
        return ""
    return f"`{json.dumps(value)}`" if isinstance(value, bool | int | list | str) else f"`{value:g}`"


def described_above(kind: type[Hyperparameters]) -> dict[str, str | None]:
    parents = [parent for parent in SHARED if issubclass(kind, parent) and kind is not parent]
    return {name: field.description for parent in parents for name, field in parent.model_fields.items()}


def on_one_line(field: FieldInfo) -> str:
    """The description, which may have several lines: a row of a table has one."""
    return " ".join((field.description or "").split())


def fields(kind: type[Hyperparameters]) -> str:
    """A table of the fields that no shared table describes in the same words."""
    above = described_above(kind)
    rows = [
        f"| `{name}` | {'' if field.is_required() else shown(as_json(field.default))} | {on_one_line(field)} |"
        for name, field in kind.model_fields.items()
        if name != "source" and above.get(name) != field.description
    ]
    if not rows:
        return "No hyper-parameters.\n"
    return "\n".join(["| Name | Default | Meaning |", "|---|---|---|", *rows]) + "\n"


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def without_preset(kind: type[Hyperparameters]) -> str:
    values = kind.scaled(30)
    source = values.pop("source").removeprefix("no preset for this model: ")
    settings = ", ".join(f"`{name} = {shown(value)[1:-1]}`" for name, value in values.items())
    return f"Without a preset: {source}." + (f" With 30 blocks: {settings}." if settings else "")


def blocks(layers: tuple[int, ...]) -> str:
    if len(layers) > 2 and layers == tuple(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}-{layers[-1]}"
    return ", ".join(map(str, layers))


def generated() -> str:
    """The text between the two marks."""
    parts = ["## Presets", "", "| Editor | Model | Layers | Source |", "|---|---|---|---|"]
    parts += [f"| `{row.editor}` | `{row.model}` | {blocks(row.layers)} | {row.source} |" for row in presets_table()]
    for kind in SHARED:
        parts += ["", f"## {title_of(kind)}", "", fields(kind).rstrip("\n")]
    for editor in shipped_editors():
        kind = editor.hyperparameter_class()
        parts += ["", f"## `{editor.name}`", "", fields(kind).rstrip("\n")]
        if len(kind.model_fields) > 1:
            parts += ["", without_preset(kind)]
    for editor in shipped_editors():
        if editor.training:
            training = editor.training_class().options_class
            parts += ["", f"## `train-{editor.name}`", "", fields(training).rstrip("\n"), "", without_preset(training)]
    return "\n".join(parts) + "\n"


def written(page: str) -> str:
    """The page with its generated part made anew."""
    before, _, rest = page.partition(START)
    return f"{before}{START}\n\n{generated()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
