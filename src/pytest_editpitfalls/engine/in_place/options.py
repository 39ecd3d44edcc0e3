"""What an in-place editor says of itself, and how its function is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_editpitfalls.engine.editing.templates import PromptForm
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters

TargetFormat = Literal["plain", "str"]
"""How ``target_new`` is given: a plain string, or ``{"str": ...}`` as the field's data sets have it. None: the first,
and where the function takes it for a dictionary the second."""

Keeps = Literal["nothing", "attachments"]
"""Whether hooks, modules and buffers left on the model are a mistake, or part of the edit."""


@dataclass(frozen=True)
class InPlaceOptions:
    """What an in-place editor says of itself (`in_place_editor`)."""

    targets: TargetFormat | None = None
    prompts: PromptForm | None = None
    keeps: Keeps = "nothing"
    independent_rows: bool = False
    reset: Callable[[], object] | None = None
    hyperparameters: type[Hyperparameters] | None = None
    title: str | None = None
    source: str | None = None
    draws: str = "not said"
    weights: tuple[str, ...] | None = None
    violates: Mapping[str, str] = field(default_factory=dict)
    epsilon: Mapping[str, float] = field(default_factory=dict)
    restores: bool = False
    same_draws: bool = False
    reset_for: Callable[[object], object] | None = None
    """in the place of ``reset``: called with an object that stands for this editor on one model under one seed"""
    folder: Path | None = None
    """where files are looked for that are not there from the working directory: a checkout"""


def keyword_arguments(values: Hyperparameters) -> dict[str, Any]:
    """The hyper-parameters as keyword arguments of the function, under the names that it knows them by."""
    fields = type(values).model_fields
    found = {field.alias or key: getattr(values, key) for key, field in fields.items() if key != "source"}
    return {**found, **(values.model_extra or {})}
