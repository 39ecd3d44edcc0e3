"""Command line and ini, read into a `RunConfig`."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import cast, get_args

import pytest

from pytest_editpitfalls.errors import UsageError, check_choice
from pytest_editpitfalls.files import absolute, is_there
from pytest_editpitfalls.outputs import STANDARD_OUTPUT

from .audit import audited, base_of
from .command_line import SHORT_FORMS_TAKEN
from .config import Inconclusive, RunConfig, Shard
from .defaults import DEFAULT_MODEL, DEFAULT_STORE, DEFAULT_SUITES, PROPERTIES, SUCCESS_FLOOR
from .editor_labels import MAX_SEED, labels_of, seed_of, with_collections
from .editor_settings import parse_overrides, read_checkouts, read_config_file, released_file
from .given import check_ini_names, ini_flag, ini_list, ini_text, source_of, typed_options
from .own_facts import read_edits, read_properties
from .paths import expanded as _expanded
from .paths import path_of as _path
from .paths import unique as _unique

MOST_SEEDS = 1000
"""Each seed runs every case again: more are a slip of the keyboard."""


def build(config: pytest.Config, reports: Iterable[str]) -> RunConfig:
    """Read command line and ini of a run with an editor; raises `UsageError` for what cannot be understood."""
    check_ini_names(config)
    checkpoints = audited(config)
    editors, editor_paths = labels_of(_unique(config.getoption("pitfalls_editor") or ()))
    if checkpoints:
        editors, editor_paths = tuple(checkpoints), {}
    suites = _unique(config.getoption("pitfalls_suite") or ())
    engine, actors = _engine(config)
    seed = _seed(config)
    root = config.inipath.parent if config.inipath else config.rootpath
    here = config.invocation_params.dir
    ini_suites = tuple(_from_folder(name, root) for name in ini_list(config, "suites"))
    config_path = _path(config.getoption("pitfalls_config"), here, "--pitfalls-config")
    config_source = "--pitfalls-config"
    if config_path is None:
        config_source = "the ini key pitfalls_config"
        config_path = _path(ini_text(config, "config"), root, config_source)
    of_editors = partial(with_collections, paths=editor_paths, labels=editors)
    released = released_file(config_path, config_source)
    named = tuple(_from_folder(name, here) for name in suites) or (() if checkpoints else _unique(ini_suites))
    properties = read_properties(config, here, root, named)
    edits = read_edits(config, here, root, properties)
    return RunConfig(
        editors=editors,
        editor_paths=editor_paths,
        editor_python=_path(config.getoption("pitfalls_editor_python"), here, "--pitfalls-editor-python"),
        checkouts={
            **read_checkouts(ini_list(config, "checkouts"), root, "the ini key pitfalls_checkouts"),
            **read_checkouts(config.getoption("pitfalls_checkout") or (), here, "--pitfalls-checkout"),
        },
        checkpoints=checkpoints,
        models=base_of(config) if checkpoints else _models(config, root),
        suites=tuple(name for name in named if name != PROPERTIES)
        or (DEFAULT_SUITES if not named and edits is None and not checkpoints else ()),
        suites_asked=bool(suites),
        properties=properties,
        edits=edits,
        limit=_positive(config, "limit"),
        overrides=of_editors(parse_overrides([*ini_list(config, "set"), *(config.getoption("pitfalls_set") or ())])),
        overrides_asked=frozenset(of_editors(parse_overrides(typed_options(config).get("pitfalls_set", ())))),
        config_path=config_path,
        config_tables={}
        if released or config_path is None
        else of_editors(read_config_file(config_path, config_source)),
        released=released,
        device=_device(config),
        dtype=_text(config, "dtype"),
        batch_size=None if _text(config, "batch_size") in {None, "auto"} else _positive(config, "batch_size"),
        seed=seed,
        seed_asked=_text(config, "seed") is not None,
        seeds=_seeds(config, seed, editors),
        gates=_unique([*ini_list(config, "gates"), *(config.getoption("pitfalls_gate") or ())]),
        gates_asked=_unique(config.getoption("pitfalls_gate") or ()),
        save=_file_or_name(config.getoption("pitfalls_save"), here, "--pitfalls-save"),
        baseline=_baseline(config, here, root),
        update_baseline=bool(config.getoption("pitfalls_update_baseline")),
        relative_gates=_unique([*ini_list(config, "fail_on"), *(config.getoption("pitfalls_fail_on") or ())]),
        relative_gates_asked=_unique(config.getoption("pitfalls_fail_on") or ()),
        inconclusive=_inconclusive(config),
        report_paths={
            name: path
            for name in reports
            if (path := _output(config.getoption(f"pitfalls_{name}"), here, f"--pitfalls-{name}")) is not None
        },
        success_floor=_success_floor(config),
        fails_untaken=_fails_untaken(config),
        judge=_text(config, "judge"),
        held_only=bool(config.getoption("pitfalls_held_only") or ini_flag(config, "held_only")),
        store_path=store_path(config),
        fresh=bool(config.getoption("pitfalls_fresh")),
        replay=_replay(config),
        replay_runs=_unique(config.getoption("pitfalls_replay_run") or ()),
        shard=_shard(config),
        timeout=_timeout(config),
        isolate=_isolate(config),
        engine=engine,
        actors=actors,
        thresholds=tuple(ini_list(config, "thresholds")),
        short_forms_taken=config.stash.get(SHORT_FORMS_TAKEN, ()),
    )


def store_path(config: pytest.Config) -> Path:
    """Return the store's directory: that of the option, of the ini key, or the default one in the rootdir.

    Raises:
        UsageError: the option or the key is no path.
    """
    return (
        _path(config.getoption("pitfalls_store"), config.invocation_params.dir, "--pitfalls-store")
        or _path(ini_text(config, "store"), config.rootpath, "the ini key pitfalls_store")
        or config.rootpath / DEFAULT_STORE
    )


def _text(config: pytest.Config, name: str) -> str | None:
    value = config.getoption(f"pitfalls_{name}")
    return (ini_text(config, name) if value is None else str(value).strip()) or None


def _integer(config: pytest.Config, name: str) -> int | None:
    text = _text(config, name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        where, written = source_of(config, name)
        raise UsageError(f"'{text}' is not a whole number", where=where, fix=f"for instance {written}8") from None


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _positive(config: pytest.Config, name: str) -> int | None:
    number = _integer(config, name)
    if number is not None and number < 1:
        where, written = source_of(config, name)
        raise UsageError(f"{number} is less than 1", where=where, fix=f"for instance {written}8")
    return number


def _seed(config: pytest.Config) -> int:
    seed = _integer(config, "seed") or 0
    if not 0 <= seed <= MAX_SEED:
        where, written = source_of(config, "seed")
        raise UsageError(f"{seed} is not between 0 and {MAX_SEED}", where=where, fix=f"for instance {written}8")
    return seed


def _seeds(config: pytest.Config, seed: int, editors: Iterable[str]) -> int:
    seeds = _positive(config, "seeds") or 1
    where, written = source_of(config, "seeds")
    if seeds > MOST_SEEDS:
        raise UsageError(f"{seeds} is more than {MOST_SEEDS}", where=where, fix=f"for instance {written}5")
    if seed + seeds - 1 > MAX_SEED:
        raise UsageError(
            f"{seeds} seeds from {seed} on go beyond {MAX_SEED}",
            where=where,
            fix="start with a smaller --pitfalls-seed",
        )
    if "pitfalls_seeds" in typed_options(config) and all(seed_of(label) is not None for label in editors):
        raise UsageError(
            "every editor names its seed already",
            where=where,
            fix=f"leave {where} out, or give the editor without '+seed'",
        )
    return seeds


def _success_floor(config: pytest.Config) -> float:
    text = _text(config, "success_floor")
    floor = SUCCESS_FLOOR if text is None else _float(text)
    if not 0.0 <= floor <= 1.0:  # refuses nan as well
        raise UsageError(
            f"'{text}' is not a fraction between 0 and 1",
            where=source_of(config, "success_floor")[0],
            fix=f"write {SUCCESS_FLOOR}, not {100 * SUCCESS_FLOOR:.0f}",
        )
    return floor


def _fails_untaken(config: pytest.Config) -> bool:
    text = _text(config, "untaken") or "fail"
    check_choice(text, ("fail", "judge"), what="value", where=source_of(config, "untaken")[0])
    return text == "fail"


def _inconclusive(config: pytest.Config) -> Inconclusive:
    """A typed option wins over ini; ``strict`` says the same as ``inconclusive = fail``."""
    for text, is_strict, names in (
        (
            config.getoption("pitfalls_inconclusive"),
            bool(config.getoption("pitfalls_strict")),
            ("--pitfalls-inconclusive", "--pitfalls-strict"),
        ),
        (
            ini_text(config, "inconclusive"),
            ini_flag(config, "strict"),
            ("ini key pitfalls_inconclusive", "ini key pitfalls_strict"),
        ),
    ):
        wanted = (text or "").strip()
        if wanted:
            check_choice(wanted, get_args(Inconclusive), what="value", where=names[0])
        if wanted and is_strict and wanted != "fail":
            raise UsageError(
                f"an inconclusive gate fails with {names[1]} and does not with {names[0]} {wanted}",
                where=" ".join(names),
                fix="leave one of them out",
            )
        if wanted or is_strict:
            return cast(Inconclusive, wanted or "fail")
    return "cases"


def _baseline(config: pytest.Config, here: Path, root: Path) -> str | None:
    baseline = _file_or_name(config.getoption("pitfalls_baseline"), here, "--pitfalls-baseline") or _file_or_name(
        ini_text(config, "baseline"), root, "the ini key pitfalls_baseline"
    )
    for option in ("update_baseline", "fail_on", "inconclusive", "strict"):
        if baseline is None and config.getoption(f"pitfalls_{option}"):
            raise UsageError(
                "there is no baseline that it could be about",
                where=f"--pitfalls-{option.replace('_', '-')}",
                fix="name one with --pitfalls-baseline",
            )
    return baseline


def _file_or_name(text: str | None, folder: Path, source: str) -> str | None:
    """Make the path of a baseline's file absolute, starting in ``folder``; leave a name alone."""
    text = (text or "").strip()
    if not text or re.fullmatch(r"[A-Za-z0-9_-]+", text):
        return text or None
    return str(folder / _expanded(text, source))


def _replay(config: pytest.Config) -> bool:
    replay = bool(config.getoption("pitfalls_replay"))
    if replay and config.getoption("pitfalls_fresh"):
        raise UsageError(
            "a replay computes nothing, a fresh run ignores what is stored",
            where="--pitfalls-replay --pitfalls-fresh",
            fix="leave one of them out",
        )
    if config.getoption("pitfalls_replay_run") and not replay:
        raise UsageError(
            "it says which stored run is replayed, but nothing is",
            where="--pitfalls-replay-run",
            fix="add --pitfalls-replay",
        )
    return replay


def _shard(config: pytest.Config) -> Shard | None:
    text = config.getoption("pitfalls_shard")
    return None if text is None else Shard.parse(text, where="--pitfalls-shard")


def _timeout(config: pytest.Config) -> float | None:
    text = _text(config, "timeout")
    seconds = None if text is None else _float(text)
    if seconds is not None and not 0.0 < seconds < float("inf"):  # refuses nan as well
        raise UsageError(
            f"'{text}' is no number of seconds", where=source_of(config, "timeout")[0], fix="for instance 600"
        )
    return seconds


def _isolate(config: pytest.Config) -> bool:
    isolate = bool(config.getoption("pitfalls_isolate") or ini_flag(config, "isolate"))
    where = "--pitfalls-isolate"
    if isolate and not hasattr(os, "fork"):
        raise UsageError("processes cannot be forked on this system", where=where, fix="leave it out")
    if isolate and (_text(config, "device") or "auto").startswith("cuda"):
        raise UsageError("a process that uses a GPU cannot be forked", where=where, fix="use --pitfalls-device=cpu")
    return isolate


def _engine(config: pytest.Config) -> tuple[str, int | None]:
    """Return the engine and how many processes it shall have."""
    text = _text(config, "engine") or "local"
    match = re.fullmatch(r"(local|ray)|ray:([1-9]\d{0,5})", text)
    if match is None:
        where = source_of(config, "engine")[0]
        name = text.partition(":")[0]
        check_choice(name, ("local", "ray"), what="engine", where=where)
        raise UsageError(f"'{text}' names no number of actors", where=where, fix="write for instance ray:4")
    if match[1] == "local" or config.getoption("pitfalls_replay"):
        return "local", None  # a replay runs nothing
    if config.getoption("dist", "no") != "no" and config.getoption("tx", None):
        raise UsageError(
            "Ray's actors and pytest-xdist's workers would both take the batches",
            where=f"--pitfalls-engine={text} and -n",
            fix="leave one of them out",
        )
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "Ray is not installed",
            where=f"--pitfalls-engine={text}",
            fix='pip install "pytest-editpitfalls[ray]"',
        )
    if ":" in (device := _text(config, "device") or "auto"):
        raise UsageError(
            "Ray gives each actor a GPU of its own",
            where=f"--pitfalls-device={device}",
            fix="use --pitfalls-device=cuda, and CUDA_VISIBLE_DEVICES for the GPUs that Ray may use",
        )
    return "ray", int(match[2]) if match[2] else None


def _models(config: pytest.Config, root: Path) -> tuple[str, ...]:
    typed = _unique(config.getoption("pitfalls_model") or ())
    for name in typed:
        _expanded(name, "--pitfalls-model")  # finds an unknown "~somebody"
    from_ini = _unique(ini_list(config, "model"))
    return typed or _unique(_ini_model(name, root) for name in from_ini) or (DEFAULT_MODEL,)


def _ini_model(name: str, root: Path) -> str:
    """Make a model's path absolute, starting in the ini file's folder; leave names and ids alone."""
    path = root / _expanded(name, "the ini key pitfalls_model")
    is_path = name.startswith(("./", "../", "/", "~")) or name.lower().endswith(".gguf")
    if not is_path and is_there(path, "the ini key pitfalls_model"):
        from pytest_editpitfalls.engine.models.known import short_name_of

        # a short name wins over a folder of that name, as on the command line
        is_path = "/" in name or short_name_of(name) is None
    return os.path.normpath(path) if is_path else name


def _device(config: pytest.Config) -> str:
    from pytest_editpitfalls.engine.models.placement import check_device

    device = _text(config, "device") or "auto"
    check_device(device, where=source_of(config, "device")[0])
    return device


def _output(text: str | None, folder: Path, source: str) -> Path | None:
    return STANDARD_OUTPUT if text == "-" else _path(text, folder, source)


def _from_folder(suite: str, folder: Path) -> str:
    """Make a suite's path absolute, starting in ``folder``; leave names and groups alone."""
    if not any(mark in suite for mark in "/\\."):
        return suite
    if "." not in re.split(r"[/\\\\]", suite)[-1] and not os.path.exists(folder / suite):
        return suite  # the name of a fetched suite ("pitfalls/gpt2-xl/reverse")
    return str(absolute(folder / _expanded(suite, "--pitfalls-suite")))
