"""Which editors can edit a model whose weights are quantised, or lie on several devices. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.models.placement import QUANTISED
from pytest_editpitfalls.engine.models.quantising import described
from pytest_editpitfalls.errors import UsageError

from .shipped import shipped_editors

if TYPE_CHECKING:
    from pytest_editpitfalls.engine.model_adapter import ModelAdapter


def check_weights(name: str, declaration: EditorDeclaration, host: ModelAdapter) -> None:
    """Refuse an editor that cannot work with weights that are kept as those of ``host``.

    Raises:
        UsageError: it says that it cannot; says why, and which editors can.
    """
    check_quantised(name, declaration, described(host.model.config))
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
        fix=f"use the model unquantised (without --pitfalls-dtype={'/'.join(QUANTISED)}), or {_others()}",
    )


def _others() -> str:
    fit = [each.name for each in shipped_editors() if not (each.needs_plain_weights or each.needs_one_device)]
    return f"an editor that needs the inputs and outputs of modules only ({', '.join(fit[:3])}, ...)"
