"""Which stored run a replay is about: by what the headers say alone, without a model. Torch-free."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pytest_editpitfalls.engine.hyperparameters.toml import toml_value
from pytest_editpitfalls.errors import UsageError, did_you_mean
from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.files import file_digest
from pytest_editpitfalls.options.editor_labels import editor_name, seed_of, without_seed

from .directory import Store
from .identity import CONTENT, RunHeader

OPTION = "--pitfalls-replay"
RUN_OPTION = "--pitfalls-replay-run"
SHORT = 12
"""Digits of a key that are shown, and enough to type."""

_SHOWN = 60
_RUNS = 20


class ReplayChoiceError(UsageError):
    """None or several of the stored runs fit; the message lists them, one per line."""

    _keeps_lines = True


def choose(
    store: Store,
    *,
    editors: Sequence[str],
    models: Mapping[str, str],
    seed: int | None = None,
    dtype: str | None = None,
    overrides: Mapping[str, Mapping[str, str]] | None = None,
    config_tables: Mapping[str, Mapping[str, Any]] | None = None,
    config_path: Path | None = None,
    prefixes: Sequence[str] = (),
) -> dict[tuple[str, str], RunHeader]:
    """The one stored run of each editor on each model.

    Args:
        editors: labels of the editors ("memit+mle"; of "memit+mle+seed1" the run under seed 1).
        models: model as typed -> its label in this run. A header fits whose model was typed the same way; where none
            was, one of that label.
        seed: as typed, of labels that name none; None means any.
        dtype: as typed; None means any.
        overrides: hyper-parameters as typed: editor -> key -> text. What is not typed may be anything.
        config_tables: the same from a configuration file; `overrides` win.
        config_path: that file; relative paths in it start at its directory.
        prefixes: beginnings of header keys; those of other editors and models are not concerned.

    Returns:
        (editor label, model label) -> header, with this run's names of the model in its description.

    Raises:
        UsageError: no stored run fits, or several do; the message lists what there is and how they differ.
    """
    headers = store.headers()
    keys = [header.key for header in headers]
    named = {key_with_prefix(keys, prefix, where=RUN_OPTION) for prefix in prefixes}
    chosen: dict[tuple[str, str], RunHeader] = {}
    for editor, (source, label) in product(editors, models.items()):
        name = editor_name(editor)
        typed = _typed(name, overrides or {}, config_tables or {}, config_path)
        own_seed = seed if (named_seed := seed_of(editor)) is None else named_seed
        of_model = _of_model([header for header in headers if header.editor == without_seed(editor)], source, label)
        fitting = [
            header
            for header in of_model
            if (own_seed is None or header.seed == own_seed)
            and (dtype is None or header.dtype == dtype)
            and _has(header, typed)
        ]
        narrowed = [header for header in fitting if header.key in named] or fitting
        if len(narrowed) != 1:
            pair = f"{editor} on {visible(label)}"
            raise (_none(store, pair, headers, of_model, typed) if not narrowed else _several(store, pair, narrowed))
        chosen[editor, label] = _as_named(narrowed[0], source, label)
    return chosen


def differences(headers: Sequence[RunHeader]) -> dict[str, list[str]]:
    """In what headers differ: name of the fact -> its value in each header, as short text."""
    tables = [dict(_leaves(header.identity)) for header in headers]
    names = dict.fromkeys(name for table in tables for name in table)
    values = {name: [table.get(name, "-") for table in tables] for name in names}
    return {name: each for name, each in values.items() if len(set(each)) > 1}


def written(store: Store, header: RunHeader) -> str:
    """When a header's last record was written, to the minute, in local time."""
    moment = datetime.datetime.fromtimestamp(store.last_written(header.key)).astimezone()
    return moment.isoformat(sep=" ", timespec="minutes")[:16]


def key_with_prefix(keys: Iterable[str], prefix: str, *, where: str) -> str:
    """The one key that begins with ``prefix``; raises `UsageError` where none or several do."""
    known = sorted(keys)
    found = [key for key in known if prefix and key.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    shown = ", ".join(key[:SHORT] for key in (found or known)[:_RUNS]) or "the store holds none"
    raise UsageError(
        f"{len(found)} stored runs begin with '{prefix}'" if found else f"no stored run begins with '{prefix}'",
        where=where,
        fix=f"{'type more digits' if found else 'type the first digits of a run'}: {shown}",
    )


def _of_model(headers: Sequence[RunHeader], source: str, label: str) -> list[RunHeader]:
    by_source = [header for header in headers if any(name.source == source for name in header.models)]
    return by_source or [header for header in headers if any(name.label == label for name in header.models)]


def _typed(
    name: str,
    overrides: Mapping[str, Mapping[str, str]],
    tables: Mapping[str, Mapping[str, Any]],
    config_path: Path | None,
) -> dict[str, Any]:
    """Values that were asked for, the command line's last. A text of a table may be a path from the table's file."""
    found: dict[str, Any] = {}
    for key, value in tables.get(name, {}).items():
        beside = config_path.parent / value if config_path is not None and isinstance(value, str) else None
        found[key] = beside if beside is not None and beside.is_file() else value
    for key, text in overrides.get(name, {}).items():
        found[key] = toml_value(text)
    return found


def _has(header: RunHeader, typed: Mapping[str, Any]) -> bool:
    return all(
        key in header.hyperparameters and _same(value, header.hyperparameters[key]) for key, value in typed.items()
    )


def _same(typed: Any, stored: JsonValue) -> bool:
    """Whether a typed value is the stored one: 1 is 1.0, a single value is a list of one, false is none."""
    if isinstance(stored, dict) and CONTENT in stored:
        try:
            return file_digest(Path(str(typed))) == stored[CONTENT]
        except (OSError, ValueError):
            return bool(stored.get("text") == typed)
    if isinstance(stored, list):
        values = list(typed) if isinstance(typed, list | tuple) else [typed]
        return len(values) == len(stored) and all(map(_same, values, stored))
    if isinstance(stored, dict):
        if not isinstance(typed, Mapping):
            return stored == {"path": str(typed)}
        return typed.keys() == stored.keys() and all(_same(typed[key], stored[key]) for key in stored)
    if stored is None or isinstance(stored, bool) or isinstance(typed, bool):
        return typed is stored or (stored is None and typed is False)
    if isinstance(stored, int | float) and isinstance(typed, str):
        try:
            return float(typed) == stored
        except ValueError:
            return False
    if isinstance(stored, str):
        return str(typed) == stored
    return isinstance(typed, int | float) and bool(typed == stored)


def _as_named(header: RunHeader, source: str, label: str) -> RunHeader:
    model = header.description.get("model")
    facts = dict(model) if isinstance(model, dict) else {}
    return header.with_description({**header.description, "model": {**facts, "name": source, "label": label}})


def _none(
    store: Store,
    pair: str,
    headers: Sequence[RunHeader],
    of_model: Sequence[RunHeader],
    typed: Mapping[str, Any],
) -> UsageError:
    known = {name for header in of_model for name in header.hyperparameters}
    for key in typed:
        if known and key not in known:
            return UsageError(
                f"no stored run of {pair} has a hyper-parameter '{key}'",
                where=OPTION,
                fix=did_you_mean(key, known),
            )
    what = "fits what was typed" if of_model else "is of this editor and model"
    if not headers:
        return UsageError(
            f"no stored run of {pair}: the store '{store.path}' holds no run at all",
            where=OPTION,
            fix=f"run without {OPTION} first, or name another directory with --pitfalls-store",
        )
    facts = [
        f"{header.editor} on {', '.join(dict.fromkeys(name.label for name in header.models))}, seed {header.seed}, "
        f"{header.dtype}"
        for header in of_model or headers
    ]
    return ReplayChoiceError(
        f"no stored run of {pair} {what}; the store '{visible(store.path)}' holds:\n"
        + _lines(store, of_model or headers, facts),
        where=OPTION,
        fix=f"name the editor, model, seed, dtype and hyper-parameters of one of them, or run without {OPTION} first "
        "('editpitfalls store list' shows more)",
    )


def _several(store: Store, pair: str, headers: Sequence[RunHeader]) -> UsageError:
    table = differences(headers)
    facts = [", ".join(f"{name} {values[place]}" for name, values in table.items()) for place in range(len(headers))]
    return ReplayChoiceError(
        f"{len(headers)} stored runs of {pair} fit; they differ in:\n" + _lines(store, headers, facts),
        where=OPTION,
        fix=f"type what differs (--pitfalls-set, --pitfalls-seed, --pitfalls-seeds, --pitfalls-dtype), or {RUN_OPTION}="
        f"{headers[0].key[:SHORT]} for one of them, or drop the others: editpitfalls store prune",
    )


def _lines(store: Store, headers: Sequence[RunHeader], facts: Sequence[str]) -> str:
    """The newest runs, one per line: key, time of the last record, facts."""
    ordered = sorted(zip(headers, facts, strict=True), key=lambda pair: store.last_written(pair[0].key), reverse=True)
    lines = [f"  {header.key[:SHORT]}  {written(store, header)}  {visible(fact)}" for header, fact in ordered[:_RUNS]]
    more = len(ordered) - len(lines)
    return "\n".join([*lines, *([f"  and {more} more"] if more else [])])


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of nested mappings, as short text."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            plain_name = str(key) if name in ("", "hyperparameters", "versions") else f"{name}.{key}"
            yield from _leaves(each, plain_name)
    else:
        text = str(value)
        short = text[:SHORT] if len(text) == 64 and text.isalnum() else text
        yield name, short if len(short) <= _SHOWN else f"{short[: _SHOWN - 3]}..."
