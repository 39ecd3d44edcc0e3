"""The texts that a suite file may hold: labels, prompts and names, each with its bounds."""

from __future__ import annotations

import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from pytest_editpitfalls.files import MAX_LABEL, MAX_PROMPT


def _trimmed(text: str) -> str:
    if not text.strip():
        raise ValueError("the text is empty")
    if text != text.strip():
        raise ValueError("the text starts or ends with a space; prompt and object are joined by what the suite says")
    # what is printable holds none; asked first, as suites list thousands of objects
    if not text.isprintable() and any(unicodedata.category(character) == "Cc" for character in text):
        raise ValueError("the text holds a control character (such as a line break or a tab)")
    return text


def _prompt(text: str) -> str:
    _trimmed(text)
    if text.count("{}") != 1:
        raise ValueError("a prompt needs exactly one {} where the subject stands")
    return text


Label = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_trimmed)]
Prompt = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_prompt)]
Context = Annotated[str, Field(max_length=MAX_PROMPT), AfterValidator(_trimmed)]
"""Text that stands before a prompt."""

Remark = Annotated[str, Field(max_length=MAX_PROMPT)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
