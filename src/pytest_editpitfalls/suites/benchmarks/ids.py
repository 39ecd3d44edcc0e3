"""Labels of things that a file names by ids, found in its own answers and prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from .prompts import template_of

_ENOUGH = 3
"""Subjects that a relation's prompts have to be known of: two may begin alike by chance ("New York", "New Jersey")."""


class Labels:
    """What a file says of its ids."""

    def __init__(self) -> None:
        self._labels: dict[str, str] = {}
        self._prompts: dict[str, dict[str, str]] = {}
        self._frames: dict[str, tuple[str, str] | None] = {}

    def answered(self, ids: object, values: list[str]) -> None:
        """Take note of the labels of a question's answers."""
        if isinstance(ids, list) and len(ids) == len(values):
            for each, value in zip(ids, values, strict=True):
                if isinstance(each, str) and value.strip():
                    self._labels.setdefault(each, value)

    def asked(self, relation: str, subject: object, prompt: str) -> None:
        """Take note of a prompt of a relation."""
        if relation and isinstance(subject, str):
            self._prompts.setdefault(relation, {}).setdefault(subject, prompt)

    def settle(self) -> None:
        """Take note of the subjects of all prompts, once every prompt is known."""
        for relation, prompts in self._prompts.items():
            for subject, prompt in prompts.items():
                if subject not in self._labels and (label := self.subject(relation, subject, prompt)):
                    self._labels[subject] = label

    def subject(self, relation: str, subject: object, prompt: str) -> str:
        """Return the label of a prompt's subject, "" where it is not known."""
        known = self._labels.get(subject, "") if isinstance(subject, str) else ""
        if known and template_of(prompt, known):
            return known
        if (frame := self._frame(relation)) is None:
            return ""
        start, end = frame
        prompt = prompt.rstrip()
        if not (prompt.startswith(start) and prompt.endswith(end) and len(prompt) > len(start) + len(end)):
            return ""
        return prompt[len(start) : len(prompt) - len(end)].strip()

    def stem(self, relation: str, target: object, statement: str) -> str:
        """Return a statement without its object, "" where that cannot be told."""
        known = self._labels.get(target, "") if isinstance(target, str) else ""
        if known and statement.removesuffix(".").endswith(f" {known}"):
            return statement.removesuffix(".")[: -len(known)]
        if (frame := self._frame(relation)) is None or not frame[1]:
            return ""
        found = re.match(rf"{re.escape(frame[0])}.+?{re.escape(frame[1])} ", statement)
        return found.group() if found else ""

    @staticmethod
    def common_stem(one: str, other: str) -> str:
        """Return how two statements begin alike, up to the end of a word."""
        return re.sub(r"\S*$", "", _beginning([one, other]))

    def _frame(self, relation: str) -> tuple[str, str] | None:
        """What stands before and behind the subject in the prompts of a relation."""
        if relation not in self._frames:
            prompts = [prompt.rstrip() for prompt in self._prompts.get(relation, {}).values()]
            frame = None
            if len(set(prompts)) >= _ENOUGH:
                start = re.sub(r"\S*$", "", _beginning(prompts))
                rest = [prompt[len(start) :][::-1] for prompt in prompts]
                end = re.sub(r"\S*$", "", _beginning(rest))[::-1]
                frame = (start, end) if start or end else None
            self._frames[relation] = frame
        return self._frames[relation]


def _beginning(texts: Sequence[str]) -> str:
    """The characters that all texts begin with."""
    return "".join(letters[0] for letters in takewhile(lambda each: len(set(each)) == 1, zip(*texts, strict=False)))
