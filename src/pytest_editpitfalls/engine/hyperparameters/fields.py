"""What all hyper-parameters have in common. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("this is a number, not true or false")
    return value


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_not_bool)]
"""A finite number above 0."""

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_not_bool)]
"""A finite number of at least 0."""

Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), BeforeValidator(_not_bool)]
"""A number above 0, at most 1."""

Count = Annotated[int, Field(ge=1), BeforeValidator(_not_bool)]
"""A whole number of at least 1."""

NotPositive = Annotated[int, Field(le=0), BeforeValidator(_not_bool)]
"""A whole number of at most 0."""

OneLayer = Annotated[tuple[int, ...], Field(min_length=1, max_length=1)]
"""The number of a single block."""

Names = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
"""Names; a single one need not be a list."""


FALSE_IS_NONE = BeforeValidator(lambda value: None if value is False else value)
"""Released files write ``false`` where there is nothing."""


_LONGEST = 200
"""Characters of a path that a message shows."""


class Hyperparameters(BaseModel):
    """Hyper-parameters of an editor; subclass it and declare fields under their published names.

    An instance is frozen and refuses keys that it has no field for. A field called ``layers`` (a tuple of block
    numbers) is checked against the model's depth, and a single number stands for a list of one. A string under a
    field is its description. A subclass without fields is fine: the editor has no hyper-parameters.

    Attributes:
        path_fields: names of the fields that hold an existing file's path. A relative path in a configuration
            file starts at that file's directory.
        at_most_one: names of fields of which at most one may be given.
        structured: fields whose value is an object of the editor's own (its ``hparams``) -> its class. A path or a
            table is given, and the object is made of it when the model is there (`engine.in_place.arguments`).
        released_names: key of a published file -> the field that it means, where the names differ.
        released_unused: key of a published file that is not taken from it, though there is such a field -> why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True)

    path_fields: ClassVar[tuple[str, ...]] = ()
    at_most_one: ClassVar[tuple[str, ...]] = ()
    structured: ClassVar[Mapping[str, type]] = {}
    released_names: ClassVar[Mapping[str, str]] = {}
    released_unused: ClassVar[Mapping[str, str]] = {}

    source: str = ""
    """where the values that nobody set come from"""

    @classmethod
    def scaled(cls, n_layers: int) -> dict[str, Any]:
        """Values for a model without preset: what the fields do not already have as their default.

        Returns:
            Values by field name; ``source`` says that they are not published for this model.
        """
        del n_layers
        return {"source": "no preset for this model: the editor's defaults"}

    @classmethod
    def implied_by(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Values that follow from what the user gave, for keys that they did not give; none unless overridden."""
        del given
        return {}

    @field_validator("layers", mode="before", check_fields=False)
    @classmethod
    def _layer_list(cls, value: object) -> object:
        layers = value if isinstance(value, list | tuple) else (value,)
        if any(isinstance(layer, bool) for layer in layers):
            raise ValueError("a layer is a number")
        return layers if isinstance(value, int) else value

    @field_validator("layers", check_fields=False)
    @classmethod
    def _layers_exist(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        n_layers = (info.context or {}).get("n_layers")
        if n_layers is not None and not all(0 <= layer < n_layers for layer in value):
            raise ValueError(f"the model has the layers 0 to {n_layers - 1}")
        if list(value) != sorted(set(value)):
            raise ValueError("layers are named once each, in ascending order")
        return value

    @field_validator("*")
    @classmethod
    def _file_exists(cls, value: Any, info: ValidationInfo) -> Any:
        if info.field_name in cls.path_fields and value is not None and not _is_file(value):
            raise ValueError(f"there is no file {str(value)[:_LONGEST]}")
        return value


def _is_file(path: Any) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):  # too long for a name, or with a null character
        return False


def at_depth(share: float, n_layers: int) -> int:
    """The block at this share of the depth, counted from 0."""
    return min(round(share * n_layers), n_layers - 1)
