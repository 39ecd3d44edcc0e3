"""Hyper-parameters under their published names, checked. Torch-free."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from pytest_editpitfalls.engine.families.base import Family
from pytest_editpitfalls.errors import UsageError, did_you_mean

from .presets import choice_for, preset_for

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PATHS = ("mom2_corpus", "mom2_npz")


class RomeHyperparameters(BaseModel):
    """ROME's hyper-parameters, named as in the released files (kmeng01/rome, hparams/ROME).

    Attributes:
        layers: the one block whose down-projection is edited.
        fact_token: where key and target vector are read; only "subject_last".
        v_num_grad_steps: steps of the target-vector optimisation; the last one only looks (field notes 1).
        v_lr: Adam's learning rate.
        v_loss_layer: block whose output gives the loss; only the last one.
        v_weight_decay: weight of norm(delta) / norm(v_0)^2.
        clamp_norm_factor: norm(delta) is at most this many times norm(v_0).
        kl_factor: weight of the KL term.
        mom2_adjustment: whether the key is multiplied by C^-1; without it u is the mean key.
        mom2_dataset: id of a data set to estimate C from; None means text that the model itself samples.
        mom2_n_samples: documents of the data set used at most; a corpus file is used whole.
        mom2_dtype: accepted as in the released files; C is summed and solved in float64 here.
        context_template_length_params: (length in tokens, number) of the sampled templates; the bare prompt
            is always added.
        context_templates: templates to use instead of sampled ones, each with one ``{}``.
        mom2_corpus: text file to estimate C from, one document per line.
        mom2_npz: published file of second moments.
        mom2_ridge: multiple of C's mean eigenvalue added to its diagonal; None means automatic.
        mom2_tokens: tokens to sample where C comes from the model's own text; None means automatic.
        rewrite_module_tmp, layer_module_tmp, mlp_module_tmp, attn_module_tmp, ln_f_module, lm_head_module:
            module names of the released files; accepted, see `module_name_notes`.
        source: where the values that nobody set come from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: tuple[int, ...] = Field(min_length=1, max_length=1)
    fact_token: Literal["subject_last"] = "subject_last"
    v_num_grad_steps: int = Field(ge=1)
    v_lr: float = Field(gt=0, allow_inf_nan=False)
    v_loss_layer: int
    v_weight_decay: float = Field(ge=0, allow_inf_nan=False)
    clamp_norm_factor: float = Field(gt=0, allow_inf_nan=False)
    kl_factor: float = Field(ge=0, allow_inf_nan=False)
    mom2_adjustment: bool = True
    mom2_dataset: str | None = Field(default=None, min_length=1)
    mom2_n_samples: int = Field(default=100_000, ge=1)
    mom2_dtype: Literal["float32", "float64"] = "float32"
    context_template_length_params: tuple[tuple[int, int], ...] = ()
    context_templates: tuple[str, ...] | None = Field(default=None, min_length=1)
    mom2_corpus: Path | None = None
    mom2_npz: Path | None = None
    mom2_ridge: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    mom2_tokens: int | None = Field(default=None, ge=1)
    rewrite_module_tmp: str | None = None
    layer_module_tmp: str | None = None
    mlp_module_tmp: str | None = None
    attn_module_tmp: str | None = None
    ln_f_module: str | None = None
    lm_head_module: str | None = None
    source: str = ""

    @field_validator("layers", mode="before")
    @classmethod
    def _one_layer(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("a layer is a number")
        return (value,) if isinstance(value, int) else value

    @field_validator("layers")
    @classmethod
    def _layer_exists(cls, value: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        n_layers = (info.context or {}).get("n_layers")
        if n_layers is not None and not 0 <= value[0] < n_layers:
            raise ValueError(f"the model has the layers 0 to {n_layers - 1}")
        return value

    @field_validator("v_loss_layer")
    @classmethod
    def _last_layer(cls, value: int, info: ValidationInfo) -> int:
        n_layers = (info.context or {}).get("n_layers")
        if n_layers is not None and value != n_layers - 1:
            raise ValueError(f"only the last block is supported, which is {n_layers - 1} in this model")
        return value

    @field_validator("context_template_length_params")
    @classmethod
    def _positive(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if any(length < 1 or number < 1 for length, number in value):
            raise ValueError("each pair is (length in tokens, number of templates), both at least 1")
        return value

    @field_validator("context_templates")
    @classmethod
    def _one_slot(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for template in value or ():
            if template.count("{}") != 1:
                raise ValueError(f"the template {template!r} needs exactly one {{}}, where the prompt goes")
        if value is not None and "{}" not in value:
            raise ValueError('the bare prompt "{}" has to be one of them: ROME reads v_0 and k_bare there')
        return value

    @field_validator(*_PATHS)
    @classmethod
    def _file_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError(f"there is no file {value}")
        return value


HYPERPARAMETERS: dict[str, type[RomeHyperparameters]] = {"rome": RomeHyperparameters}
"""The editors that have hyper-parameters."""


def resolve_hyperparameters(
    editor: str,
    model_name: str,
    n_layers: int,
    config_table: Mapping[str, Any] | None = None,
    overrides: Mapping[str, str] | None = None,
    *,
    config_path: Path | None = None,
) -> RomeHyperparameters:
    """Merge preset (or `choice_for`), configuration table and command line, the later winning, and check.

    Args:
        editor: name of the editor.
        model_name: short name, id or path of the model, for the preset.
        n_layers: number of the model's blocks.
        config_table: the editor's table of the configuration file.
        overrides: ``--pitfalls-set`` values as typed, by key.
        config_path: the configuration file; relative paths in its table start at its directory.

    Raises:
        UsageError: an unknown name or a bad value; says which option or table it came from.
    """
    if editor not in HYPERPARAMETERS:
        raise UsageError(f"unknown editor '{editor}'", fix=did_you_mean(editor, HYPERPARAMETERS))
    model = HYPERPARAMETERS[editor]
    start = preset_for(editor, model_name, n_layers) or choice_for(editor, n_layers)
    values = dict(start)
    where = dict.fromkeys(values, f"preset '{values['source']}'")
    for key, value in (config_table or {}).items():
        values[key] = _from(config_path.parent, value) if config_path and key in _PATHS else value
        where[key] = f"{config_path or 'configuration'} [{editor}] {key}"
    for key, text in (overrides or {}).items():
        values[key] = text if key in _PATHS else toml_value(text)
        where[key] = f"--pitfalls-set {editor}.{key}"
    try:
        checked = model.model_validate(values, context={"n_layers": n_layers})
    except ValidationError as error:
        raise _usage_error(error, model, start, values, where) from None
    named = [key for key in ("mom2_dataset", *_PATHS) if getattr(checked, key) is not None]
    if len(named) > 1:
        raise UsageError(
            f"{' and '.join(named)} are both given",
            where=" and ".join(where[key] for key in named),
            fix="name one source of second moments",
        )
    return checked


def toml_value(text: str) -> Any:
    """Read ``text`` as a TOML value (``0.1``, ``true``, ``[8]``); anything else is a plain string."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def module_name_notes(values: RomeHyperparameters, family: Family) -> tuple[str, ...]:
    """Compare the released files' module names with the family's; return a note for each that is not used.

    Raises:
        UsageError: they ask for another matrix than the family's down-projection.
    """
    block = f"{family.blocks}.{{}}"
    ours = {
        "rewrite_module_tmp": f"{block}.{family.down_projection}",
        "layer_module_tmp": block,
        "mlp_module_tmp": f"{block}.{family.mlp}" if family.mlp else block,
    }
    for key, expected in ours.items():
        if (value := getattr(values, key)) is not None and value != expected:
            raise UsageError(
                f"{key} is '{value}', but family '{family.name}' has '{expected}'",
                fix=f"leave {key} out, or write a family declaration (docs/families.md)",
            )
    unused = ("attn_module_tmp", "ln_f_module", "lm_head_module")
    return tuple(
        f"{key} = '{value}' is not used: the model's own modules are called"
        for key in unused
        if (value := getattr(values, key)) is not None
    )


def _from(directory: Path, value: Any) -> Any:
    return directory / value if isinstance(value, str) else value


def _usage_error(
    error: ValidationError,
    model: type[BaseModel],
    start: Mapping[str, Any],
    values: Mapping[str, Any],
    where: Mapping[str, str],
) -> UsageError:
    """The first mistake, in our words."""
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    place = where.get(key, key)
    if first["type"] == "extra_forbidden":
        names = [name for name in model.model_fields if name != "source"]
        return UsageError(f"unknown hyper-parameter '{key}'", where=place, fix=did_you_mean(key, names))
    message = first["msg"].removeprefix("Value error, ")
    example = f"without it, {key} would be {start[key]!r}; " if key in start else ""
    return UsageError(
        f"bad value {values.get(key)!r}: {message[:1].lower()}{message[1:]}",
        where=place,
        fix=f"{example}docs/models.md lists the hyper-parameters and their values",
    )
