"""The tokenizer that an in-place editor gets: a copy, looked at after every call."""

from __future__ import annotations

import copy
from typing import Any

from pytest_editpitfalls.errors import CaseError

from .structure import first_of

_RESTORED = ("padding_side", "truncation_side", "pad_token", "model_max_length", "chat_template")


class LentTokenizer:
    """A copy of the base tokenizer; a new one is made when an editor has changed it.

    Args:
        tokenizer: the base tokenizer; it is never lent itself.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._original = tokenizer
        self._facts = _facts(tokenizer)
        self._copy: Any = None

    def take(self) -> Any:
        """The copy, as the base tokenizer is."""
        if self._copy is None:
            self._copy = copy.deepcopy(self._original)
        return self._copy

    def check(self, notes: list[str]) -> None:
        """Note changes that do no harm once they are gone.

        Raises:
            CaseError: the vocabulary or its special tokens changed: the edited model would need another tokenizer.
        """
        now = _facts(self._copy)
        changed = [name for name, value in self._facts.items() if now[name] != value]
        if changed:
            self._copy = None
        refused = [name for name in changed if name not in _RESTORED]
        if refused:
            raise CaseError(
                f"changed the tokenizer ({', '.join(_shown(name, self._facts, now) for name in refused)})",
                fix="leave vocabulary and special tokens alone: all states are asked with one tokenizer",
            )
        if changed:
            notes.append(f"left the tokenizer's {first_of(changed)} changed: restored")


def _facts(tokenizer: Any) -> dict[str, Any]:
    special = {k: str(v) for k, v in tokenizer.special_tokens_map.items() if k != "pad_token"}
    added = tokenizer.get_added_vocab() if hasattr(tokenizer, "get_added_vocab") else {}
    facts = {
        "vocabulary size": len(tokenizer),
        "added tokens": dict(added),
        "special tokens": special,
    }
    return facts | {name: getattr(tokenizer, name, None) for name in _RESTORED}


def _shown(name: str, before: dict[str, Any], now: dict[str, Any]) -> str:
    if name != "vocabulary size":
        return name
    return f"vocabulary size {before[name]} to {now[name]}"
