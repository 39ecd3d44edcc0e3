"""Command line and ini to one frozen `RunConfig`. Torch-free and pydantic-free: it is loaded with pytest itself."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .errors import UsageError
from .hyperparameter_options import parse_overrides, read_config_file
from .metrics.reliability import SUCCESS_FLOOR
from .own_editors import labels_of

if TYPE_CHECKING:
    from .engine.settings import EngineSettings

DEFAULT_MODEL = "smollm2-135m"
DEFAULT_SUITES = ("all",)
MAX_SEED = 2**32 - 1
SHORT_FORMS = {"--editor": "--pitfalls-editor", "--model": "--pitfalls-model"}

_HELP = {
    "editor": "edit with EDITOR (for instance rome, or package.module:attribute for your own) and judge what it "
    "breaks; may be given several times",
    "model": f"model to edit: a name, Hugging Face id, directory or GGUF file; may be given several times "
    f"(default: {DEFAULT_MODEL})",
    "suite": "suite to run: a name, a group (conflict, distortion, all) or the path of a case file; may be "
    "given several times (default: the suites that ship)",
    "limit": "at most N cases per suite, drawn evenly from its rules, always the same ones",
    "set": "set one hyper-parameter: EDITOR.KEY=VALUE, for instance rome.v_lr=0.1; may be given several times",
    "config": "TOML file with one table of hyper-parameters per editor",
    "device": "auto, cpu, cuda or cuda:N (default: auto, which is cuda where there is one)",
    "dtype": "float32, bfloat16 or float16 (default: float32 on a cpu, the checkpoint's own on cuda)",
    "batch_size": "cases edited together: a number or auto (default: auto)",
    "seed": "seed of everything that is random (default: 0)",
    "json": "write all results to this JSON file",
    "success_floor": "mark figures as unreliable where the editor's mean edit success is under this fraction "
    f"(default: {SUCCESS_FLOOR})",
    "gate": "gate on a suite's metric, for instance 'reverse.cs_exp >= 0.6'; may be given several times",
}


@dataclass(frozen=True)
class RunConfig:
    """What the user asked for.

    Attributes:
        editors: labels of the editors; empty means that the plugin does nothing.
        editor_paths: those given as ``package.module:attribute``: name -> path.
        models: names, ids or paths of the models, as typed.
        suites: suite names, groups or paths, from the command line or else from ini.
        suites_asked: whether ``--pitfalls-suite`` was given.
        limit: cases per suite, or None for all.
        overrides: values of ``--pitfalls-set`` as typed: editor -> key -> value.
        config_path: the file of ``--pitfalls-config``.
        config_tables: its tables: editor -> key -> value.
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: name of the dtype, or None for the default.
        batch_size: cases per batch, or None for automatic.
        seed: seed of everything random.
        json_path: where the results go, or None.
        gates: gates as typed, ini first.
        gates_asked: those of the command line.
        success_floor: mean edit success (fraction) under which figures are marked unreliable.
        thresholds: ini ``pitfalls_thresholds``, as typed.
        short_forms_taken: short options that belong to somebody else here ("--model").
    """

    editors: tuple[str, ...] = ()
    editor_paths: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    suites: tuple[str, ...] = DEFAULT_SUITES
    suites_asked: bool = False
    limit: int | None = None
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    config_path: Path | None = None
    config_tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: str = "auto"
    dtype: str | None = None
    batch_size: int | None = None
    seed: int = 0
    json_path: Path | None = None
    gates: tuple[str, ...] = ()
    gates_asked: tuple[str, ...] = ()
    success_floor: float = SUCCESS_FLOOR
    thresholds: tuple[str, ...] = ()
    short_forms_taken: tuple[str, ...] = ()

    @property
    def labels(self) -> dict[str, str]:
        """Short label of each model, for node ids and results: model as typed -> label."""
        return model_labels(self.models)

    def engine_settings(self, model: str) -> EngineSettings:
        """Return what the engine needs to open ``model`` (as typed)."""
        from .engine.settings import EngineSettings

        return EngineSettings(
            model=model,
            device=self.device,
            dtype=self.dtype,
            seed=self.seed,
            batch_size=self.batch_size,
            config_tables=self.config_tables,
            overrides=self.overrides,
            config_path=self.config_path,
        )


def add_options(parser: pytest.Parser) -> None:
    """Register the prefixed options and the ini keys."""
    group = parser.getgroup("editpitfalls", "knowledge editing pitfalls (pytest-editpitfalls)")

    def option(name: str, **kwargs: Any) -> None:
        flag = "--pitfalls-" + name.replace("_", "-")
        group.addoption(flag, dest=f"pitfalls_{name}", default=None, help=_HELP[name], **kwargs)

    option("editor", action="append", metavar="EDITOR")
    option("model", action="append", metavar="MODEL")
    option("suite", action="append", metavar="SUITE")
    option("limit", metavar="N")
    option("set", action="append", metavar="EDITOR.KEY=VALUE")
    option("config", metavar="FILE.toml")
    option("device", metavar="DEVICE")
    option("dtype", metavar="DTYPE")
    option("batch_size", metavar="N|auto")
    option("seed", metavar="N")
    option("json", metavar="PATH")
    option("gate", action="append", metavar="GATE")
    option("success_floor", metavar="FRACTION")

    parser.addini("pitfalls_model", "models to edit (default: smollm2-135m)", type="args", default=[])
    parser.addini(
        "pitfalls_suites", "suites that run where no path is given (default: all)", type="args", default=[]
    )
    parser.addini("pitfalls_gates", "gates, one a line: reverse.cs_exp >= 0.6", type="linelist", default=[])
    parser.addini(
        "pitfalls_thresholds",
        "thresholds that a case must meet, one a line: reverse: cs_exp >= 1",
        type="linelist",
        default=[],
    )
    parser.addini("pitfalls_set", "hyper-parameters, one a line: rome.v_lr=0.1", type="linelist", default=[])
    for name in ("config", "device", "dtype", "batch_size", "seed", "limit", "success_floor"):
        parser.addini(f"pitfalls_{name}", _HELP[name], default="")


def add_short_forms(parser: pytest.Parser, args: Sequence[str]) -> tuple[str, ...]:
    """Register ``--editor`` and ``--model`` where they are used (or help is asked) and nobody else owns them.

    Called after the initial conftests were loaded, so that theirs win. An option that nobody typed is not
    registered: a conftest found later, during collection, may then still own it.

    Returns:
        The short forms that somebody else owns.
    """
    wants_help = any(arg in {"-h", "--help"} for arg in args)
    taken = tuple(short for short in SHORT_FORMS if not is_free(parser, short))
    for short, long in SHORT_FORMS.items():
        typed = any(arg == short or arg.startswith(f"{short}=") for arg in args)
        if not (typed or wants_help) or short in taken:
            continue
        name = long.removeprefix("--pitfalls-")
        parser.getgroup("editpitfalls").addoption(
            short,
            dest=f"pitfalls_{name}",
            action="append",
            default=None,
            metavar=name.upper(),
            help=f"short form of {long}",
        )
    return taken


def is_free(parser: pytest.Parser, flag: str) -> bool:
    """Whether no plugin or conftest has registered ``flag``."""
    return f"{flag}=x" in parser.parse_known_and_unknown_args([f"{flag}=x"])[1]


def build(config: pytest.Config) -> RunConfig:
    """Read command line and ini; raises `UsageError` for anything that cannot be understood."""
    _refuse_empty(config)
    editors, editor_paths = labels_of(_unique(config.getoption("pitfalls_editor") or ()))
    if not editors:
        return RunConfig()
    suites = _unique(config.getoption("pitfalls_suite") or ())
    root = config.inipath.parent if config.inipath else config.rootpath
    here = config.invocation_params.dir
    ini_suites = tuple(_from_folder(name, root) for name in config.getini("pitfalls_suites"))
    config_path = _path(config.getoption("pitfalls_config"), here, "--pitfalls-config")
    config_source = "--pitfalls-config"
    if config_path is None:
        config_source = "the ini key pitfalls_config"
        config_path = _path(config.getini("pitfalls_config"), root, config_source)
    return RunConfig(
        editors=editors,
        editor_paths=editor_paths,
        models=_models(config, root),
        suites=tuple(_from_folder(name, here) for name in suites) or _unique(ini_suites) or DEFAULT_SUITES,
        suites_asked=bool(suites),
        limit=_positive(config, "limit"),
        overrides=parse_overrides(
            [*config.getini("pitfalls_set"), *(config.getoption("pitfalls_set") or ())]
        ),
        config_path=config_path,
        config_tables=read_config_file(config_path, config_source) if config_path else {},
        device=_device(_text(config, "device") or "auto"),
        dtype=_text(config, "dtype"),
        batch_size=None if _text(config, "batch_size") in {None, "auto"} else _positive(config, "batch_size"),
        seed=_seed(config),
        json_path=_path(config.getoption("pitfalls_json"), here, "--pitfalls-json"),
        gates=_unique([*config.getini("pitfalls_gates"), *(config.getoption("pitfalls_gate") or ())]),
        gates_asked=_unique(config.getoption("pitfalls_gate") or ()),
        success_floor=_success_floor(config),
        thresholds=tuple(config.getini("pitfalls_thresholds")),
        short_forms_taken=config.stash.get(SHORT_FORMS_TAKEN, ()),
    )


SHORT_FORMS_TAKEN: pytest.StashKey[tuple[str, ...]] = pytest.StashKey()
"""The short forms that somebody else owns; filled in after the initial conftests were loaded."""


def model_labels(models: Sequence[str]) -> dict[str, str]:
    """Return a short label for each model that fits into a node id; equal labels get a number."""
    labels: dict[str, str] = {}
    for model in models:
        stem = re.sub(r"\.gguf$", "", model.replace("\\", "/").rstrip("/").rpartition("/")[2], flags=re.I)
        base = re.sub(r"[^A-Za-z0-9._]+", "-", stem).strip("-") or "model"
        label, number = base, 2
        while label in labels.values():
            label, number = f"{base}-{number}", number + 1
        labels[model] = label
    return labels


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    # pytest-xdist's workers parse the arguments on top of the controller's options: appended values come twice.
    return tuple(dict.fromkeys(value.strip() for value in values if value.strip()))


def _text(config: pytest.Config, name: str) -> str | None:
    value = config.getoption(f"pitfalls_{name}")
    if value is None:
        value = config.getini(f"pitfalls_{name}")
    return str(value).strip() or None


def _integer(config: pytest.Config, name: str) -> int | None:
    text = _text(config, name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        flag = f"--pitfalls-{name.replace('_', '-')}"
        raise UsageError(
            f"'{text}' is not a whole number", where=flag, fix=f"for instance {flag}=8"
        ) from None


def _positive(config: pytest.Config, name: str) -> int | None:
    number = _integer(config, name)
    if number is not None and number < 1:
        flag = f"--pitfalls-{name.replace('_', '-')}"
        raise UsageError(f"{number} is less than 1", where=flag, fix=f"for instance {flag}=8")
    return number


def _seed(config: pytest.Config) -> int:
    seed = _integer(config, "seed") or 0
    if not 0 <= seed <= MAX_SEED:
        raise UsageError(
            f"{seed} is not between 0 and {MAX_SEED}",
            where="--pitfalls-seed",
            fix="for instance --pitfalls-seed=8",
        )
    return seed


def _success_floor(config: pytest.Config) -> float:
    text = _text(config, "success_floor")
    if text is None:
        return SUCCESS_FLOOR
    try:
        floor = float(text)
    except ValueError:
        floor = float("nan")
    if not 0.0 <= floor <= 1.0:  # refuses nan as well
        raise UsageError(
            f"'{text}' is not a fraction between 0 and 1",
            where="--pitfalls-success-floor",
            fix=f"write {SUCCESS_FLOOR}, not {100 * SUCCESS_FLOOR:.0f}",
        )
    return floor


def _refuse_empty(config: pytest.Config) -> None:
    """Raise `UsageError` for ``--pitfalls-model=`` and the like: an unset variable in a script, not a wish."""
    for name in _HELP:
        given = config.getoption(f"pitfalls_{name}")
        values = given if isinstance(given, list) else [given]
        if any(value is not None and not str(value).strip() for value in values):
            raise UsageError(
                "the value is empty",
                where=f"--pitfalls-{name.replace('_', '-')}",
                fix="give a value or leave the option out",
            )


def _models(config: pytest.Config, root: Path) -> tuple[str, ...]:
    typed = _unique(config.getoption("pitfalls_model") or ())
    for name in typed:
        _expanded(name, "--pitfalls-model")  # "~somebody" is found out here, once
    from_ini = _unique(config.getini("pitfalls_model"))
    return typed or _unique(_ini_model(name, root) for name in from_ini) or (DEFAULT_MODEL,)


def _ini_model(name: str, root: Path) -> str:
    """Make a model's path absolute, starting in the ini file's folder; leave names and ids alone."""
    path = root / _expanded(name, "the ini key pitfalls_model")
    is_path = name.startswith(("./", "../", "/", "~")) or name.lower().endswith(".gguf")
    if not is_path and path.exists():
        from .engine.models.known import short_name_of

        # a short name wins over a folder of that name, as on the command line
        is_path = "/" in name or short_name_of(name) is None
    return os.path.normpath(path) if is_path else name


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise UsageError(
            f"unknown device '{text}'", where="--pitfalls-device", fix="use auto, cpu, cuda or cuda:N"
        )
    return text


def _path(text: str | None, folder: Path, source: str) -> Path | None:
    return folder / _expanded(text, source) if text else None


def _expanded(text: str, source: str) -> Path:
    """Return the path with ``~`` in words; raises `UsageError` for the home of nobody known."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise UsageError(
            f"the home directory in '{text}' is unknown", where=source, fix="write the whole path"
        ) from None


def _from_folder(suite: str, folder: Path) -> str:
    """Make a suite's path absolute, starting in ``folder``; leave names and groups alone."""
    if not any(mark in suite for mark in "/\\."):
        return suite
    return str((folder / _expanded(suite, "--pitfalls-suite")).resolve())
