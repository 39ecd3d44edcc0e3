"""Prompts with a subject in place, as templates with ``{}``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from pytest_editpitfalls.cases.leaks import is_unspaced
from pytest_editpitfalls.files import MAX_LABEL, MAX_PROMPT

_LONGEST_NAME = 48


def template_of(text: str, subject: str) -> tuple[str, str] | None:
    """Return a text with ``{}`` where its subject stands, and the subject as it is written there.

    Where it stands several times, the last place counts: texts may begin with unrelated sentences. None where it does
    not stand in it, or where the text has braces of its own.
    """
    if not subject or "{}" in text or len(text) > MAX_PROMPT:
        return None
    start = _last(text, subject)
    if start < 0 and len(lowered := text.lower()) == len(text):
        start = _last(lowered, subject.lower())
    if start < 0:
        return None
    end = start + len(subject)
    return f"{text[:start]}{{}}{text[end:]}", text[start:end]


def _last(text: str, words: str) -> int:
    """Where some words stand last in a text, not as a part of longer words; -1 where they do not."""
    start = text.rfind(words)
    while start >= 0:
        end = start + len(words)
        if not (_are_one(text[:start][-1:], words[0]) or _are_one(words[-1], text[end : end + 1])):
            return start
        start = text.rfind(words, 0, end - 1)
    return -1


def _are_one(before: str, behind: str) -> bool:
    """Whether two signs that follow one another belong to one word; "" stands for the end of the text."""
    return before.isalnum() and behind.isalnum() and not (is_unspaced(before) or is_unspaced(behind))


def templates_of(texts: Iterable[str], subject: str) -> tuple[str, ...]:
    """Return those of the texts that speak of the subject, as templates."""
    found = (template_of(text, subject) for text in texts)
    return tuple(template for template, _ in filter(None, found))


def has_place(prompt: str) -> bool:
    """Whether a prompt has one ``{}`` and a length that is allowed."""
    return prompt.count("{}") == 1 and len(prompt) <= MAX_PROMPT


def is_label(text: object) -> bool:
    """Whether a text can stand for a subject or an object."""
    return isinstance(text, str) and bool(text.strip()) and len(text) <= MAX_LABEL


def relation_name(prompt: str) -> str:
    """Return a name for the relation that a prompt asks for, where the file has none: its words, in lower case."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.replace("{}", " ").lower()).strip("-")
    if words and len(words) <= _LONGEST_NAME:
        return words
    digest = hashlib.sha256(prompt.encode()).hexdigest()[:6]
    return f"{words[: _LONGEST_NAME - 7].strip('-') or 'prompt'}-{digest}"


def texts_in(value: object) -> list[str]:
    """Return the texts of a field that is a text, a list of texts, or a list of such lists."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, dict):
        return texts_in(value.get("str", value.get("value")))
    if isinstance(value, list | tuple):
        return [text for each in value for text in texts_in(each)]
    return [str(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def objects_in(value: object) -> tuple[str, ...]:
    """Return the different objects of a field; of a list of lists, each list holds one object and its aliases."""
    if isinstance(value, list | tuple) and any(isinstance(each, list | tuple | dict) for each in value):
        firsts = (texts_in(each) for each in value)
        return tuple(dict.fromkeys(texts[0] for texts in firsts if texts and is_label(texts[0])))
    return tuple(dict.fromkeys(text for text in texts_in(value) if is_label(text)))


def case_name(group: str, row: int) -> str:
    """Return the id of a case ("P36", 17 -> "P36-00017"): what node ids may hold, and not too long."""
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", group).strip("-.")
    return f"{plain[:_LONGEST_NAME].rstrip('-.') or 'case'}-{row:05d}"
