"""Which relation a prompt asks for."""

from __future__ import annotations

import re
import unicodedata

from pytest_editpitfalls.knowledge import Relations
from pytest_editpitfalls.knowledge.facts import plain

_SUBJECT = "subjectstandshere"
_ARTICLE = re.compile(r"\b(?:the|an|a) (?=\{\})", re.IGNORECASE)


class Wordings:
    """The wordings of all relations; a prompt is found when it is one of them, but for case and punctuation.

    A wording that two relations share tells neither.
    """

    def __init__(self, relations: Relations) -> None:
        self._relations: dict[str, str] = {}
        for relation in relations.values():
            for wording in filter(None, (relation, relation.plural)):
                for prompt in (wording.prompt, *wording.paraphrases):
                    if self._relations.setdefault(normalised(prompt), relation.id) != relation.id:
                        self._relations[normalised(prompt)] = ""

    def relation_of(self, prompt: str) -> str:
        """Return the id of the relation that is asked by this prompt, or ""."""
        return self._relations.get(normalised(prompt), "")


_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "IDEOGRAPHIC ", "FULLWIDTH ")
"""How the names of characters begin after which an object follows without a space: Chinese and Japanese."""


def joiner_after(prompt: str) -> str:
    """Return what stands between a prompt that is in no relation and its object: nothing in Chinese and Japanese."""
    return "" if unicodedata.name(prompt.rstrip()[-1:] or " ", "").startswith(_UNSPACED) else " "


def normalised(prompt: str) -> str:
    """Return a prompt as it is compared: as `plain` gives it, with ``{}`` kept and the subject's article left out."""
    return plain(_ARTICLE.sub("", prompt).replace("{}", f" {_SUBJECT} ", 1))
