"""Which editors can edit a model whose weights are quantised, or lie on several devices. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration
from pytest_editpitfalls.engine.models.checkpoint import config_of
from pytest_editpitfalls.engine.models.placement import QUANTISED
from pytest_editpitfalls.engine.models.quantising import check_library, described
from pytest_editpitfalls.engine.models.source import ModelSource
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


def check_before_loading(names: Iterable[str], sources: Iterable[ModelSource], dtype: str | None) -> None:
    """Refuse what can be refused before a weight is read: where the dtype quantises, or a directory's config says so.

    Args:
        names: of the run's editors.
        sources: the run's models.
        dtype: as typed.

    Raises:
        UsageError: as `check_quantised`; or the library that quantises is not installed.
    """
    check_library(dtype)
    for source in sources:
        config = config_of(source.path) if source.kind == "directory" and source.path is not None else None
        quantisation = dtype if dtype in QUANTISED else None if config is None else described(config)
        for name in dict.fromkeys(names) if quantisation else ():
            check_quantised(name, EDITORS.get(name), quantisation)


def _others() -> str:
    shipped = shipped_editors()
    fit = [each.name for each in shipped if not (each.needs_plain_weights or each.needs_one_device)]
    which = "any of those that ship" if len(fit) == len(shipped) else ", ".join(fit)
    return f"an editor that needs the inputs and outputs of modules only: {which}"
