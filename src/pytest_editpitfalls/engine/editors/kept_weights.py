"""Which editors can edit a model whose weights are quantised, rounded, or on several devices. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.models.checkpoint import config_of
from pytest_editpitfalls.engine.models.placement import QUANTISED
from pytest_editpitfalls.engine.models.quantising import check_library, described
from pytest_editpitfalls.engine.models.source import ModelSource
from pytest_editpitfalls.engine.settings import BF16_WEIGHTS
from pytest_editpitfalls.errors import UsageError

from .editor_registry import EDITORS
from .shipped import shipped_editors

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.model_adapter import ModelAdapter


def check_weights(name: str, declaration: EditorDeclaration, host: ModelAdapter) -> None:
    """Refuse an editor that cannot work with weights that are kept as those of ``host``.

    Raises:
        UsageError: it says that it cannot; says why, and which editors can.
    """
    check_quantised(name, declaration, described(host.model.config))
    check_precision(name, declaration, host.precision)
    if host.is_spread and declaration.needs_one_device:
        raise UsageError(
            f"{name} cannot edit a model that lies on several devices ({', '.join(map(str, host.devices))}): "
            f"{declaration.needs_one_device}",
            where=f"--editor={name}",
            fix=f"use a model that fits on one device (--pitfalls-dtype=nf4 makes it smaller), or {_others()}",
        )


def check_quantised(name: str, declaration: EditorDeclaration, quantisation: str | None) -> None:
    """Refuse an editor that cannot work with quantised weights.

    Args:
        quantisation: which one, in words; None where the weights are plain.

    Raises:
        UsageError: as `check_weights`.
    """
    if quantisation is None or not declaration.needs_plain_weights:
        return
    raise UsageError(
        f"{name} cannot edit quantised weights ({quantisation}): {declaration.needs_plain_weights}",
        where=f"--editor={name}",
        fix=f"use the model unquantised (another --pitfalls-dtype, or another checkpoint), or {_others()}",
    )


def check_precision(name: str, declaration: EditorDeclaration, precision: str | None) -> None:
    """Refuse an editor that writes into matrices which are kept rounded.

    What it adds would be rounded away, and its code would meet inputs of another dtype than the weights.

    Args:
        precision: what ``--pitfalls-dtype`` calls it; None is the default.

    Raises:
        UsageError: it edits in place, and the precision is "bf16-weights".
    """
    if precision == BF16_WEIGHTS and declaration.form == "in place":
        raise UsageError(
            f"'{name}' edits in place, and cannot write into matrices that are kept in bfloat16 beside float32 inputs",
            where=f"--pitfalls-dtype={BF16_WEIGHTS}",
            fix="--pitfalls-dtype=float32, or bfloat16 where its code can compute in that",
        )


def check_before_loading(names: Iterable[str], sources: Iterable[ModelSource], dtype: str | None) -> None:
    """Refuse what the dtype, or the config of a model's directory, tells before a weight is read.

    Args:
        names: of the run's editors.
        sources: the run's models.
        dtype: as typed.

    Raises:
        UsageError: as `check_quantised` and `check_precision`; or the library that quantises is not installed.
    """
    check_library(dtype)
    declarations = {name: EDITORS.get(name) for name in names}
    for name, declaration in declarations.items():
        check_precision(name, declaration, dtype)
    for source in sources:
        config = config_of(source.path) if source.kind == "directory" and source.path is not None else None
        quantisation = dtype if dtype in QUANTISED else None if config is None else described(config)
        for name, declaration in declarations.items():
            check_quantised(name, declaration, quantisation)


def _others() -> str:
    shipped = shipped_editors()
    fit = [each.name for each in shipped if not (each.needs_plain_weights or each.needs_one_device)]
    which = "any of those that ship" if len(fit) == len(shipped) else ", ".join(fit)
    return f"an editor that needs the inputs and outputs of modules only: {which}"
