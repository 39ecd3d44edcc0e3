"""What of a model an edit changes, against what its editor says that it may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .in_place.pristine import checksums
from .overlay import EditedModel, ModelDifference
from .quantised import plain


@dataclass(frozen=True)
class WrittenWeights:
    """What one edit changed.

    Attributes:
        names: modules and parameters that differ in the edited model.
        declared: what the editor says that it may change; None where it does not say.
        in_base: weights of the base model itself that are not as before.
    """

    names: tuple[str, ...]
    declared: tuple[str, ...] | None
    in_base: tuple[str, ...]

    @property
    def outside(self) -> tuple[str, ...]:
        """Those that the editor has not declared."""
        return tuple(name for name in self.names if not any(_covers(each, name) for each in self.declared or ()))


def watch_writing(model: Any, declared: tuple[str, ...] | None, edit: Callable[[], EditedModel]) -> WrittenWeights:
    """Make an edit, and see what it changes in the edited model, and in the base model beside it."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    before = dict(zip(tensors, checksums([plain(each).detach() for each in tensors.values()]), strict=True))
    names = tuple(dict.fromkeys(_changed(edit())))
    now = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    after = dict(zip(now, checksums([plain(each).detach() for each in now.values()]), strict=True))
    in_base = tuple(name for name in {**before, **after} if before.get(name) != after.get(name))
    return WrittenWeights(names, declared, in_base)


def _changed(model: EditedModel) -> Iterator[str]:
    for change in model:
        if isinstance(change, ModelDifference):
            yield from change.values
            yield from (f"{each.path}.{each.key}" if each.path else str(each.key) for each in change.attachments)
        elif module := getattr(change, "module", None):
            yield module


def _covers(pattern: str, name: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
