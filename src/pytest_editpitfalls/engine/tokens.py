"""Text to token ids: prompts, targets and the position of a subject's last token.

Everything is built by joining token ids, never by decoding and tokenising again, which can
change a leading space.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pytest_editpitfalls.errors import CaseError, UnscorableCase, UsageError

# A letter that no tokenizer merges with a following space: stands for "whatever text comes before".
_ANCHOR = "a"

# The same before a text that follows without a space: the first one that keeps its own tokens there. A Chinese
# character ends most prompts of this kind; the others are for tokenizers that do not know it.
_TIGHT_ANCHORS = ("是", ":", "a", "\n")


class Encoder:
    """Prompts keep the tokenizer's default special tokens (a BOS where it has one); targets never have any.

    Args:
        tokenizer: a fast one.
        rows: of the model's token embedding: a text with an id beyond them cannot be asked; None: not looked at.
    """

    def __init__(self, tokenizer: Any, rows: int | None = None) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise UsageError(
                f"the tokenizer {type(tokenizer).__name__} cannot map tokens to characters",
                where="model's tokenizer",
                fix="save a fast tokenizer beside the model (AutoTokenizer(..., use_fast=True).save_pretrained)",
            )
        self._tokenizer = tokenizer
        self._rows = rows
        anchor = tokenizer(_ANCHOR, add_special_tokens=False)["input_ids"]
        self._space = tokenizer(f"{_ANCHOR} ", add_special_tokens=False)["input_ids"][len(anchor) :]
        self.prompt = lru_cache(maxsize=65536)(self._prompt)
        self.target = lru_cache(maxsize=65536)(self._target)

    def forget(self) -> None:
        """Encode every text anew from now on."""
        self.prompt.cache_clear()
        self.target.cache_clear()

    def _prompt(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt, with the tokenizer's default special tokens.

        A trailing end-of-sequence token, which some tokenizers add, is left off: the target follows.
        """
        ids = list(self._tokenizer(text)["input_ids"])
        eos = self._tokenizer.eos_token_id
        if len(ids) > 1 and eos is not None and ids[-1] == eos and not text.endswith(self._tokenizer.eos_token):
            ids.pop()
        if not ids:
            raise UnscorableCase(f"the prompt {text!r} has no tokens", fix="give the prompt some text")
        return self._embedded(ids, text)

    def text(self, text: str, prefix: str = "") -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of a whole text: what comes before the first token that is predicted, and those that are.

        The first token of the text is not predicted where nothing stands before it; it is not counted behind a
        ``prefix`` either, so that the same tokens are. Raises `UnscorableCase` for a text of fewer than two tokens.
        """
        ids = self.prompt(text)
        special = max(len(ids) - len(self._tokenizer(text, add_special_tokens=False)["input_ids"]), 0)
        start = max(special, 1)
        if len(ids) <= start:
            raise UnscorableCase(f"the text {text!r} has no token to be predicted", fix="give a text of a few words")
        before = (*self.prompt(prefix), *ids[special:start]) if prefix else ids[:start]
        return before, ids[start:]

    def _target(self, label: str, joiner: str = " ") -> tuple[int, ...]:
        """Token ids of ``label`` after ``joiner`` (one space, or nothing), as they follow any prompt.

        Read off behind an anchor, because SentencePiece tokenizers put a space of their own before a text that
        stands alone. Raises `UnscorableCase` when nothing but a space is left, as where a tokenizer drops characters
        that it does not know, or when a character is unknown: its probability would be that of any unknown text.

        The ids do not depend on the prompt, so that an object has as many tokens after each of its prompts, and an
        edit finds its subject where the prompt's own ids have it. Prompt and target are therefore tokenized as the
        joint text is, but where a tokenizer merges a prompt's end with the beginning of a label that follows without
        a space: there the two keep the tokens that they have apart.
        """
        ids = self._behind_anchor(label, joiner)
        fix = "give the object a label that the model's tokenizer can write"
        if not label.strip() or not ids or ids == self._space:
            raise UnscorableCase(f"the target {label!r} has no tokens", fix=fix)
        if self._tokenizer.unk_token_id in ids:
            raise UnscorableCase(f"the model's tokenizer does not know all of the target {label!r}", fix=fix)
        return self._embedded(ids, label)

    def _behind_anchor(self, label: str, joiner: str) -> list[int]:
        for anchor in _TIGHT_ANCHORS if joiner == "" else (_ANCHOR,):
            alone = self._tokenizer(anchor, add_special_tokens=False)["input_ids"]
            joined = self._tokenizer(f"{anchor}{joiner}{label}", add_special_tokens=False)["input_ids"]
            known = alone and self._tokenizer.unk_token_id not in alone
            if joined[: len(alone)] == alone and (known or joiner):
                return list(joined[len(alone) :])
        return list(self._tokenizer(f"{joiner}{label}", add_special_tokens=False)["input_ids"])

    def _embedded(self, ids: list[int], text: str) -> tuple[int, ...]:
        if self._rows is not None and max(ids) >= self._rows:
            token = self._tokenizer.convert_ids_to_tokens(max(ids))
            raise UnscorableCase(
                f"the model has no embedding for {token!r} in {text!r}", fix="leave it out of the text"
            )
        return tuple(ids)

    def subject_last(self, text: str, start: int, subject: str) -> tuple[tuple[int, ...], int]:
        """Token ids of ``text`` and the index of the last token that overlaps the subject.

        Args:
            text: prompt with the subject at characters ``start`` to ``start + len(subject)``.

        Raises `CaseError` when no token overlaps the subject.
        """
        if not subject or text[start : start + len(subject)] != subject:
            raise CaseError(
                f"the subject {subject!r} does not stand at character {start} of {text!r}",
                fix="put {} where the subject belongs in the rewrite prompt",
            )
        ids = self.prompt(text)
        offsets = self._tokenizer(text, return_offsets_mapping=True)["offset_mapping"][: len(ids)]
        end = start + len(subject.rstrip())
        found = [index for index, (a, b) in enumerate(offsets) if a < end and b > start and b > a]
        if not found:
            raise CaseError(f"no token of {text!r} belongs to the subject {subject!r}", fix="check the subject's label")
        return ids, found[-1]

    def decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))
