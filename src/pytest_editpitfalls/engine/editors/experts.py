"""Which editors can edit a model whose MLPs are mixtures of experts. Torch-free."""

from __future__ import annotations

from pytest_editpitfalls.engine.families import Family
from pytest_editpitfalls.engine.hyperparameters.fields import Hyperparameters
from pytest_editpitfalls.errors import UsageError

from .editor_registry import EDITORS
from .shipped import shipped_editors


def check_experts(name: str, values: Hyperparameters, family: Family) -> None:
    """Refuse an editor that would write the down-projection of a block whose experts have one each.

    Args:
        name: the editor.
        values: its hyper-parameters.

    Raises:
        UsageError: it cannot edit the family; says why, and which editors can.
    """
    declaration = EDITORS.get(name)
    named = declaration.experts == "a named module"
    if not family.mixture or not (named or declaration.experts == "refused") or getattr(values, "module", None):
        return
    why = "without one it copies a down-projection" if named else f"it writes {declaration.writes}"
    others = [each.name for each in shipped_editors() if each.experts not in ("refused", "a named module")]
    use = f"use one of {', '.join(others)}, or an editor of your own (docs/write-an-editor.md)"
    raise UsageError(
        f"{name} cannot edit a mixture of experts (family '{family.name}')"
        f"{' unless a module is named' if named else ''}: {why}, and each expert has its own",
        where=f"--editor={name}",
        fix=f"--pitfalls-set {name}.module={family.attention_output}, or {use}" if named else use,
    )
