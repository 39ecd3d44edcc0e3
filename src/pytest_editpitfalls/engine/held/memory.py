"""Which questions a model holds, remembered on the disk: every run on a model asks the same ones of its suites."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from pytest_editpitfalls.files import digest

Key = tuple[object, ...]
"""All that a question asks."""


class HeldMemory:
    """The answers of one model. What cannot be read or written only costs time.

    Args:
        path: a file of lines, to which each process adds its own.
        model: the model's fingerprint and precision. Answers of other libraries or of other code are not found.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._model = path, model
        self._known: dict[str, bool | None] | None = None

    def get(self, keys: list[Key]) -> dict[Key, bool | None]:
        """Return the answers that are known."""
        if self._known is None:
            self._known = self._read()
        return {key: self._known[name] for key in keys if (name := self._name(key)) in self._known}

    def add(self, answers: Mapping[Key, bool | None]) -> None:
        """Remember answers."""
        named = {self._name(key): answer for key, answer in answers.items()}
        if self._known is not None:
            self._known |= named
        lines = "".join(f"{json.dumps([name, answer])}\n" for name, answer in named.items())
        # One write, so that lines of two processes do not mix; a line that was cut off by a crash is no answer.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, f"\n{lines}".encode())
            finally:
                os.close(file)

    def _read(self) -> dict[str, bool | None]:
        found: dict[str, bool | None] = {}
        try:
            text = self._path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return found
        for line in text.splitlines():
            with contextlib.suppress(ValueError, TypeError):
                name, answer = json.loads(line)
                if isinstance(name, str) and (answer is None or isinstance(answer, bool)):
                    found[name] = answer
        return found

    def _name(self, key: Key) -> str:
        text = json.dumps([self._model, _answered_by(), key], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _answered_by() -> list[str]:
    """What computes the answers: the versions of the libraries, and a digest of the engine's code."""
    code = sorted(Path(__file__).parents[1].rglob("*.py"))
    return [version("torch"), version("transformers"), digest(path.read_bytes() for path in code)]
