"""What was given, and where: typed for this run, in ``addopts``, or in the configuration file.

What is typed and cannot have an effect is a mistake. What stands in a file is there for other runs as well.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from pytest_editpitfalls.errors import UsageError, did_you_mean

from .command_line import SHORT_FORMS, SHORT_FORMS_TAKEN, short_forms_in

PREFIX = "pitfalls_"

NUMBERS = ("limit", "seed", "seeds", "batch_size", "success_floor", "timeout")
"""Ini keys that take a number."""

_SHOWS = ("help", "version", "markers", "showfixtures", "show_fixtures_per_test", "cacheshow")
"""What makes pytest print something and run nothing."""


def only_shows(config: pytest.Config) -> bool:
    """Whether this is no run: ``--help``, ``--markers``, ``--fixtures`` and the like."""
    return any(config.getoption(name, None) for name in _SHOWS)


def prints_help(config: pytest.Config) -> bool:
    """Whether pytest only explains itself, so that no option matters."""
    return any(config.getoption(name, None) for name in _SHOWS[:3])


def typed_options(config: pytest.Config) -> dict[str, Any]:
    """Return our options as they were typed for this run, ``addopts`` and ``PYTEST_ADDOPTS`` apart: dest -> value."""
    return _ours(_typed(config))


def ini_values(config: pytest.Config) -> dict[str, Any]:
    """Return our ini keys with their values as the file has them: in a TOML table of pytest 9, of whatever type."""
    found = getattr(config, "_inicfg", None)
    if found is None:
        found = getattr(config, "inicfg", {})  # before pytest 9
    values = {name: getattr(value, "value", value) for name, value in found.items() if name.startswith(PREFIX)}
    return dict.fromkeys(_overridden(config.option), "") | values


def ini_text(config: pytest.Config, name: str) -> str:
    """Return an ini key of one value as text, "" where it is not there; raises `UsageError` for a wrong type.

    A number of a TOML table is as good as its digits where the key takes a number. pytest refuses it, and before 9.2
    it knows no key that may have one of several types.
    """
    value = _ini(config, name)
    if isinstance(value, bool) or not isinstance(value, (str, int, float) if name in NUMBERS else str):
        words, example = ("a number", "3") if name in NUMBERS else ("text", '"..."')
        raise _wrong_type(config, name, value, words, example)
    return str(value).strip()


def ini_list(config: pytest.Config, name: str) -> list[str]:
    """Return an ini key of several values; raises `UsageError` for a wrong type."""
    value = _ini(config, name)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        example = json.dumps([str(each) for each in (value if isinstance(value, list) else [value])])
        raise _wrong_type(config, name, value, "a list of texts", example)
    return value


def ini_flag(config: pytest.Config, name: str) -> bool:
    """Return an ini key that is true or false; raises `UsageError` for a wrong type."""
    value = _ini(config, name)
    if not isinstance(value, bool):
        raise _wrong_type(config, name, value, "true or false", "true")
    return value


def source_of(config: pytest.Config, name: str) -> tuple[str, str]:
    """Return where a setting of one value is from, for messages, and how it is written there: up to the value."""
    if config.getoption(f"{PREFIX}{name}") is not None:
        flag = f"--pitfalls-{name.replace('_', '-')}"
        return flag, f"{flag}="
    return _place(config, f"{PREFIX}{name}"), f"{PREFIX}{name} = "


def check_ini_names(config: pytest.Config) -> None:
    """Raise `UsageError` for a key that looks like one of ours and is none: pytest would only warn of it."""
    known = [name for name in config._parser._inidict if name.startswith(PREFIX)]
    for name in ini_values(config):
        if name not in known:
            raise UsageError(
                "there is no such key",
                where=_place(config, name),
                fix=did_you_mean(name, known),
            )


def refuse_without_editor(config: pytest.Config) -> str | None:
    """Look for settings of a run that has no editor, so that they have no effect.

    Returns:
        What there is to say of those in files and ``addopts``; None where there are none.

    Raises:
        UsageError: something was typed for this very run.
    """
    options, keys = _ours(config.option), ini_values(config)
    if not options and not keys:
        return None
    alone = _typed(config)
    if typed := [*(_flag(config, name) for name in _ours(alone)), *(f"-o {name}" for name in _overridden(alone))]:
        taken = "--editor" in config.stash.get(SHORT_FORMS_TAKEN, ())
        if "pitfalls_base" in _ours(alone):
            raise UsageError(
                "there is a base, and no edited checkpoint that it could be the base of",
                where=_flag(config, "pitfalls_base"),
                fix="add --pitfalls-edited=DIR; in a run with an editor the model is named with --pitfalls-model",
            )
        raise UsageError(
            "no editor is given: nothing would be edited, measured or judged",
            where=", ".join(typed),
            fix="--editor belongs to another plugin or conftest here: name the editor with --pitfalls-editor"
            if taken
            else "add --editor=NAME ('editpitfalls editors' lists them)",
        )
    names = ", ".join([*keys, *(f"{_flag(config, name)} (addopts)" for name in options)])
    return f"no editor is given: without effect here: {names}; --editor=NAME makes use of them"


def _ini(config: pytest.Config, name: str) -> object:
    try:
        return config.getini(f"{PREFIX}{name}")
    except (TypeError, ValueError, pytest.UsageError):  # what is raised depends on pytest's version
        return ini_values(config)[f"{PREFIX}{name}"]


def _wrong_type(config: pytest.Config, name: str, value: object, words: str, example: str) -> UsageError:
    key = f"{PREFIX}{name}"
    fix = f"for instance {key} = {example}"
    return UsageError(f"this takes {words}, not {value!r}", where=_place(config, key), fix=fix)


def _place(config: pytest.Config, key: str) -> str:
    return f"-o {key}" if key in _overridden(config.option) else f"{config.inipath}, {key}"


def _ours(namespace: argparse.Namespace) -> dict[str, Any]:
    return {
        name: value for name, value in vars(namespace).items() if name.startswith(PREFIX) and value not in (None, [])
    }


def _typed(config: pytest.Config) -> argparse.Namespace:
    return config._parser.parse_known_args(list(config.invocation_params.args))


def _overridden(options: argparse.Namespace) -> list[str]:
    """Return our ini keys that ``-o`` gives a value."""
    names = [entry.partition("=")[0] for entry in getattr(options, "override_ini", None) or ()]
    return [name for name in names if name.startswith(PREFIX)]


def _flag(config: pytest.Config, dest: str) -> str:
    """Return the option as it was typed."""
    long = "--" + dest.replace("_", "-")
    args = config.invocation_params.args
    taken = config.stash.get(SHORT_FORMS_TAKEN, ())
    typed = short_forms_in(args).difference(taken)
    short = next((short for short in typed if SHORT_FORMS[short] == long), None)
    is_long = any(arg == long or arg.startswith(f"{long}=") for arg in args)
    return short if short is not None and not is_long else long
