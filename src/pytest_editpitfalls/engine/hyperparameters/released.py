"""The hyper-parameter files that others publish: EasyEdit's YAML, kmeng01's JSON. One file has one editor's values.

Torch-free. Nothing in a file is run: YAML's tags for objects are refused by PyYAML's safe loader, its aliases here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.files import MAX_SMALL_FILE_BYTES, read_bounded, refuse_repeated_fields

from .fields import Hyperparameters

SUFFIXES = (".yaml", ".yml", ".json")
"""What such a file ends with."""

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_DEEPEST = 20
_NAMES_OF_ALGORITHM = ("alg_name", "alg", "method")


@dataclass(frozen=True)
class ReleasedFile:
    """A published file of hyper-parameters.

    Attributes:
        algorithm: the editor that the file says it is for ("rome"), in our spelling; None where it does not say.
        values: what stands in it, under the published names, nulls (None) included.
    """

    path: Path
    algorithm: str | None
    values: Mapping[str, Any]

    def editor(self, editors: Iterable[str], shipped: Iterable[str]) -> tuple[str, ...]:
        """Which of these editors it is for: those of its algorithm (FT's are three), or the only one there is.

        Args:
            editors: names of the editors of a run.
            shipped: names of ours. Whoever wrote another one knows what its file is for.

        Raises:
            UsageError: none of them, or several and it does not say.
        """
        names, ours = list(dict.fromkeys(editors)), set(shipped)
        algorithm = self.algorithm
        if algorithm is None and (folder := _spelt(self.path.parent.name)) in ours:
            algorithm = folder
        if algorithm is not None:
            meant = tuple(name for name in names if name == algorithm or name.startswith(f"{algorithm}-"))
            if meant:
                return meant
            if len(names) == 1 and names[0] not in ours:
                return (names[0],)
            known = sorted(name for name in ours if name == algorithm or name.startswith(f"{algorithm}-"))
            raise UsageError(
                f"the file is for '{algorithm}', and this run has {' and '.join(map(repr, names))}",
                where=str(self.path),
                fix=f"add --editor={known[0]}, or name another file" if known else did_you_mean(algorithm, ours),
            )
        if len(names) != 1:
            raise UsageError(
                f"the file does not say which of {', '.join(map(repr, names))} it is for",
                where=str(self.path),
                fix="name one editor, or put the file's values into a TOML file with one table per editor",
            )
        return (names[0],)

    def table(self, editor: str, kind: type[Hyperparameters]) -> tuple[dict[str, Any], str]:
        """The values that ``editor`` has a field for, and a note that lists the others.

        Raises:
            UsageError: it has a field for none of them.
        """
        if len(kind.structured) == 1:
            (name,) = kind.structured
            return {name: str(self.path)}, f"'{editor}' gets {self.path.name} as its '{name}'"
        fields = {field.alias or key for key, field in kind.model_fields.items() if key != "source"}
        takes_all = kind.model_config.get("extra") == "allow"
        used: dict[str, Any] = {}
        unused: list[str] = []
        reasons: dict[str, list[str]] = {}
        for key, value in self.values.items():
            if value is None:
                continue
            name = kind.released_names.get(key, key)
            if key in kind.released_unused:
                reasons.setdefault(kind.released_unused[key], []).append(key)
            elif name in fields or takes_all:
                used[name] = value
            else:
                unused.append(key)
        if not used:
            raise UsageError(
                f"no key of the file is a hyper-parameter of '{editor}'",
                where=str(self.path),
                fix="check the path; docs/hyperparameters.md lists the hyper-parameters",
            )
        parts = [f"{', '.join(unused)} (not hyper-parameters of '{editor}')"] if unused else []
        parts += [f"{', '.join(keys)} ({reason})" for reason, keys in reasons.items()]
        note = f"'{editor}' takes {len(used)} values from {self.path.name}"
        return used, f"{note}; not used: {'; '.join(parts)}" if parts else note


def is_released(path: Path) -> bool:
    """Whether the file is to be read as a published one, by its suffix."""
    return path.suffix.lower() in SUFFIXES


def read_released(path: Path) -> ReleasedFile:
    """Read a published file.

    Raises:
        UsageError: it cannot be read, is not valid, is no mapping, or has a key twice.
    """
    data = read_bounded(path, MAX_SMALL_FILE_BYTES)
    found = _json(data, path) if path.suffix.lower() == ".json" else _yaml(data, path)
    if not isinstance(found, dict) or all(value is None for value in found.values()):
        raise UsageError(
            "the file has no keys with values", where=str(path), fix="name a file of hyper-parameters: layers: [5]"
        )
    for key in found:
        if not isinstance(key, str):
            raise UsageError(f"the key {key!r} is not a text", where=str(path), fix="correct it")
    algorithm = next((found[key] for key in _NAMES_OF_ALGORITHM if isinstance(found.get(key), str)), None)
    values = {key: _number(value) for key, value in found.items()}
    return ReleasedFile(path, None if algorithm is None else _spelt(algorithm), values)


def _spelt(algorithm: str) -> str:
    return algorithm.strip().lower().replace("_", "-")


def _number(value: Any) -> Any:
    """``5e-1`` is a text by YAML 1.1, and a number by what its authors meant."""
    if isinstance(value, list):
        return [_number(each) for each in value]
    if isinstance(value, dict):
        return {key: _number(each) for key, each in value.items()}
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


def _json(data: bytes, path: Path) -> Any:
    try:
        found = json.loads(data)
        refuse_repeated_fields(data, str(path))
    except RecursionError:
        raise UsageError("not valid JSON: nested too deeply", where=str(path), fix="correct the file") from None
    except ValueError as error:
        raise UsageError(f"not valid JSON: {error}", where=str(path), fix="correct the line") from None
    return found


def _yaml(data: bytes, path: Path) -> Any:
    import yaml

    text = data.decode("utf-8")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            where = f"{path}:{event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):
                raise UsageError(f"*{event.anchor} is an alias", where=where, fix="write the value itself")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:  # the scanner's time grows with the square of the depth
                raise UsageError("not valid YAML: nested too deeply", where=where, fix="correct the file")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if isinstance(node, yaml.MappingNode):
            _refuse_repeated(node, path)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise UsageError(f"not valid YAML: {error.problem or error}", where=where, fix="correct the line") from None
    except (yaml.YAMLError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"not valid YAML: {reason}", where=str(path), fix="correct the file") from None


def _refuse_repeated(node: Any, path: Path) -> None:
    """PyYAML takes the last of two equal keys and says nothing. Where they have the same value, nothing is lost."""
    seen: dict[str, Any] = {}
    for key, value in node.value:
        before = seen.setdefault(str(key.value), (key, value))
        if before[0] is not key and _shape(before[1]) != _shape(value):
            raise UsageError(
                f"the key '{key.value}' stands in line {before[0].start_mark.line + 1} too, with another value",
                where=f"{path}:{key.start_mark.line + 1}",
                fix="keep one",
            )


def _shape(node: Any) -> Any:
    value = node.value
    return [_shape(each) for each in value] if isinstance(value, list) and node.id == "sequence" else repr(value)
