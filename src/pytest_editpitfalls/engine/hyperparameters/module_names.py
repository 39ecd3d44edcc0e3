"""Module names of the released files: accepted where they mean the modules that are edited anyway. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from pytest_editpitfalls.engine.families import Family
from pytest_editpitfalls.errors import UsageError

from .fields import Hyperparameters, Names

_INNER_PARAM = re.compile(
    r"(?P<blocks>[\w.]+?)(\.(?P<dotted>\d+)|\[(?P<indexed>\d+)\])\.(?P<module>[\w.]+?)(\.weight)?"
)


class ReleasedModuleNames(Hyperparameters):
    """Module names as in the released files of ROME, MEMIT, FT and their kin; see `module_name_notes`."""

    rewrite_module_tmp: str | None = None
    """released name of the edited matrix; refused where it is not the family's down-projection"""
    layer_module_tmp: str | None = None
    """released name of a block; refused where the family's is another"""
    mlp_module_tmp: str | None = None
    """released name of the MLP or its down-projection; refused where the family's are others"""
    attn_module_tmp: str | None = None
    """accepted, not used: the model's own modules are called"""
    ln_f_module: str | None = None
    """accepted, not used: the model's own modules are called"""
    lm_head_module: str | None = None
    """accepted, not used: the model's own modules are called"""


@dataclass(frozen=True, slots=True)
class InnerParam:
    """One entry of ``inner_params``, such as ``model.layers[27].mlp.down_proj.weight``.

    Attributes:
        blocks: path of the list of blocks ("model.layers").
        layer: number of the block.
        module: path of the module inside the block ("mlp.down_proj").
    """

    blocks: str
    layer: int
    module: str

    @classmethod
    def parse(cls, text: str) -> InnerParam:
        """Read one; raises ValueError when it does not name a block and a module in it."""
        match = _INNER_PARAM.fullmatch(text)
        if not match:
            raise ValueError(f"'{text}' is not like 'model.layers[27].mlp.down_proj.weight'")
        return cls(match["blocks"], int(match["dotted"] or match["indexed"]), match["module"])


class InnerParams(Hyperparameters):
    """``layers`` with the released files' other way to say it, ``inner_params`` (MEND, GRACE, WISE).

    Given alone, ``inner_params`` sets ``layers`` (and ``module``, where there is one module to set).
    """

    layers: tuple[int, ...] = Field(min_length=1)
    """the edited blocks"""
    inner_params: Names = ()
    """released way to say blocks and matrices, such as `model.layers[27].mlp.down_proj.weight`"""

    @field_validator("inner_params")
    @classmethod
    def _names_the_layers(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        named = sorted({InnerParam.parse(text).layer for text in value})
        layers = info.data.get("layers")
        if value and layers is not None and named != list(layers):
            raise ValueError(f"it names the blocks {named}, but layers is {list(layers)}; give one of the two")
        return value

    @classmethod
    def implied_by(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """``layers`` as ``inner_params`` names them."""
        return {"layers": sorted({inner.layer for inner in _readable(given)})} if _readable(given) else {}


class NamedMatrices(Hyperparameters):
    """Down-projections by their blocks, or any matrices by name (UltraEdit, RLEdit)."""

    layers: tuple[int, ...] = ()
    """blocks whose down-projections are edited; instead of `edit_modules`"""
    edit_modules: Names = ()
    """full names of the edited matrices, such as `model.layers.11.mlp.gate_proj`"""

    @field_validator("edit_modules")
    @classmethod
    def _one_of_two(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        layers = info.data.get("layers")
        if value and layers:
            raise ValueError(f"layers is {list(layers)}; give one of the two")
        if not value and layers == ():
            raise ValueError("it names no matrix, and layers names no block; give one of the two")
        return value

    @classmethod
    def implied_by(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """What is given takes the place of the other, whichever the preset has."""
        if given.get("edit_modules"):
            return {"layers": []}
        return {"edit_modules": []} if "layers" in given else {}


class OneModule(InnerParams):
    """One module of one block, by default its down-projection (GRACE, WISE), or its MLP where that has experts."""

    layers: tuple[int, ...] = Field(min_length=1, max_length=1)
    """the one block"""
    inner_params: Names = Field(default=(), max_length=1)
    """released way to say `layers` and `module`, such as `model.layers[27].mlp.down_proj.weight`"""
    module: str | None = Field(default=None, min_length=1)
    """path of the module inside the block; without it, the down-projection"""

    @field_validator("module")
    @classmethod
    def _inner_params_agree(cls, value: str | None, info: ValidationInfo) -> str | None:
        named = [InnerParam.parse(text).module for text in info.data.get("inner_params") or ()]
        if value is not None and any(module != value for module in named):
            raise ValueError(f"inner_params names '{named[0]}', another module; give one of the two")
        return value

    @classmethod
    def implied_by(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """``layers`` and ``module`` as ``inner_params`` names them."""
        named = _readable(given)
        return {"layers": [named[0].layer], "module": named[0].module} if len(named) == 1 else {}

    def module_path(self, family: Family) -> str:
        """Path of the module from the model, such as ``model.layers.27.mlp.down_proj``."""
        return f"{family.blocks}.{self.layers[0]}.{self.module or family.down_projection or family.mlp}"


def module_name_notes(values: Hyperparameters, family: Family) -> tuple[str, ...]:
    """Compare the released files' module names with the family's; return a note for each that is not used.

    Raises:
        UsageError: they ask for another matrix than the family's down-projection, or for other blocks.
    """
    block = f"{family.blocks}.{{}}"
    down = f"{block}.{family.down_projection}"
    ours = {
        "rewrite_module_tmp": (down,),
        "layer_module_tmp": (block,),
        "mlp_module_tmp": (f"{block}.{family.mlp}" if family.mlp else block, down),
        "rewrite_module_tmps": (down,),
    }
    unused = ["attn_module_tmp", "ln_f_module", "lm_head_module"]
    if hasattr(values, "rewrite_module_tmps"):  # PMET, where rewrite_module_tmps says what is written
        unused.append("rewrite_module_tmp")
        del ours["rewrite_module_tmp"]
    for key, expected in ours.items():
        given = getattr(values, key, None) or ()
        for value in (given,) if isinstance(given, str) else given:
            if value.removesuffix(".weight") not in expected:
                raise UsageError(
                    f"{key} is '{value}', but family '{family.name}' has '{expected[0]}'",
                    fix=f"leave {key} out, or write a family declaration (docs/families.md)",
                )
    for text in getattr(values, "inner_params", ()):
        if InnerParam.parse(text).blocks != family.blocks:
            raise UsageError(
                f"inner_params has '{text}', but the blocks of family '{family.name}' are '{family.blocks}'",
                fix="leave inner_params out and give layers",
            )
    notes = [
        f"{key} = '{value}' is not used: the model's own modules are called"
        for key in unused
        if (value := getattr(values, key, None)) is not None
    ]
    if getattr(values, "inner_params", ()) and not isinstance(values, OneModule):
        notes.append(
            "of inner_params only the blocks are used: every matrix of their MLPs is edited, whichever it names"
        )
    return tuple(notes)


def _readable(given: Mapping[str, Any]) -> list[InnerParam]:
    """The entries of the user's ``inner_params``, or none where one is wrong: then validation says so."""
    value = given.get("inner_params", ())
    try:
        return [InnerParam.parse(text) for text in ((value,) if isinstance(value, str) else value)]
    except (TypeError, ValueError):
        return []
