"""Text put before every prompt: the form of in-context editing."""

from __future__ import annotations

from dataclasses import dataclass

from .change import EditedModel


@dataclass(frozen=True)
class PromptPrefix:
    """``text`` goes before every prompt that the edited model is asked; several are joined in their order."""

    text: str

    def is_finite(self) -> bool:
        return True

    def nbytes(self) -> int:
        return len(self.text.encode())


def prefix_of(model: EditedModel) -> str:
    """All prefixes of an edited model, joined."""
    return "".join(change.text for change in model if isinstance(change, PromptPrefix))
