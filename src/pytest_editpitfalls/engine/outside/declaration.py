"""What a collection of editors is. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_editpitfalls.engine.editing.templates import PromptForm
from pytest_editpitfalls.engine.in_place.options import TargetFormat


@dataclass(frozen=True)
class Collection:
    """Editors that others publish together.

    Attributes:
        name: what stands before the colon.
        title: their repository.
        table: path of the module that has ``ALG_DICT``, from the checkout's directory.
        package: the package that this module is in; empty where it stands outside of one.
        prompts, targets: what their functions take.
        bare: packages that are not run when a module in them is imported, since they import everything there is: only
            when a name is taken from them.
        left_padding: whether an algorithm's texts are padded on the left, as their own program has it.
        attachments: algorithms whose edit is something beside the weights.
        has, lacks: paths by which their repository is told from another one with a table in that place.
        one_request: algorithms that write the first request alone of those that they are given: they are called request
            by request.
        of_2022: whether their code expects what transformers gave it in 2022 (`former_transformers`).
        needs: what to install, in words.
    """

    name: str
    title: str
    table: str
    package: str
    prompts: PromptForm
    targets: TargetFormat
    needs: str
    bare: tuple[str, ...] = ()
    left_padding: Callable[[str], bool] = lambda algorithm: False
    attachments: frozenset[str] = frozenset()
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    one_request: frozenset[str] = frozenset()
    of_2022: bool = False

    def mistake(self, directory: Path) -> str | None:
        """Why ``directory`` is no checkout of it; None where it is one."""
        missing = [each for each in (self.table, *self.has) if not (directory / each).exists()]
        if missing:
            return f"there is no {missing[0]} in it"
        other = [each for each in self.lacks if (directory / each).exists()]
        return f"there is a {other[0]} in it" if other else None
