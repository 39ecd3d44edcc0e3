"""What the user asked for, as one frozen object."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pytest_editpitfalls.engine.hyperparameters.released import ReleasedFile
from pytest_editpitfalls.engine.settings import EngineSettings
from pytest_editpitfalls.errors import UsageError

from .defaults import DEFAULT_MODEL, DEFAULT_STORE, DEFAULT_SUITES, SUCCESS_FLOOR

Inconclusive = Literal["cases", "excess", "pass", "fail"]


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``of`` parts of the selected cases; ``number`` counts from 1."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str, *, where: str) -> Shard:
        """Read ``3/16``; raises `UsageError` for anything else."""
        match = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"'{text}' is no shard",
                where=where,
                fix="write which of how many, counted from 1: --pitfalls-shard=3/16",
            )
        return cls(int(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class EditsConfig:
    """The user's own edits, and what is known around them.

    Attributes:
        path: the list.
        together: whether all of them are written in one step.
        facts, relations, rules: files of the user's; what is not given is what ships.
        asked: whether ``--pitfalls-edits`` was given.
    """

    path: Path
    together: bool = False
    facts: tuple[Path, ...] = ()
    relations: Path | None = None
    rules: Path | None = None
    asked: bool = True


@dataclass(frozen=True, slots=True)
class PropertiesConfig:
    """The properties of editors that are looked at.

    Attributes:
        wanted: whether ``--pitfalls-suite`` or the ini file names them.
        example: the edits that are looked at instead of drawn ones, as typed; None: edits are drawn.
        facts, relations: files of the user's that edits are drawn from; what is not given is what ships.
    """

    wanted: bool = False
    example: str | None = None
    facts: tuple[Path, ...] = ()
    relations: Path | None = None


@dataclass(frozen=True)
class RunConfig:
    """What the user asked for.

    Attributes:
        editors: labels of the editors; empty means that the plugin does nothing.
        editor_paths: those given as ``package.module:attribute``: name -> path.
        editor_python: the interpreter that editors given by path run in; None: this one.
        checkouts: name of a collection of editors -> its directory, of those that were named.
        checkpoints: label of each edited checkpoint that is audited -> the checkpoint as it was typed; ``editors`` has
            these labels, and no editor beside them.
        models: names, ids or paths of the models, as typed.
        suites: suite names, groups or paths, from the command line, otherwise from ini.
        suites_asked: whether ``--pitfalls-suite`` was given.
        properties: which properties of editors are looked at.
        edits: what the user's own edits are, where there are some.
        limit: cases per suite, or None for all.
        overrides: values of ``--pitfalls-set`` as typed: editor -> key -> value.
        overrides_asked: the editors whose values were typed for this run.
        config_path: the file of ``--pitfalls-config``.
        config_tables: its tables: editor -> key -> value.
        released: that file, where it is one that others publish: its values become a table once the editors are known.
        device: "auto", "cpu", "cuda" or "cuda:N".
        dtype: name of the dtype, or None for the default.
        batch_size: cases per batch, or None for automatic.
        seed: seed of everything random, of labels that name none.
        seed_asked: whether it was given on the command line or in ini.
        seeds: how many seeds, from ``seed`` on, an editor runs under whose label names none.
        gates: gates as typed, ini first.
        gates_asked: those of the command line.
        store_path: directory of the store.
        fresh: whether stored results are ignored (and written anew).
        replay: whether all results come from the store, and no model is loaded.
        replay_runs: prefixes of the keys of the run headers that a replay takes.
        shard: the part of the selected cases that this run takes; None for all.
        timeout: seconds that a batch may take, or None.
        isolate: whether each case runs in a forked process of its own.
        engine: who runs batches: "local" (this process, or xdist's workers) or "ray".
        actors: processes of the engine that has several; None for one per GPU, or without a GPU one per two CPUs.
        save: where the baseline of this run goes: a name or a file, as typed.
        baseline: the baseline to compare with: a name, or a file made absolute.
        update_baseline: whether this run replaces it.
        relative_gates: gates relative to the baseline, as typed, ini first.
        relative_gates_asked: those of the command line.
        inconclusive: what an inconclusive relative gate means: the new failures of its suite count one by one, or where
            they exceed chance; or it passes, or it fails.
        report_paths: name of a form of report -> where it goes; those that are asked for.
        success_floor: mean edit success (fraction) under which figures are marked unreliable.
        held_only: whether a case is skipped whose facts the model does not hold.
        fails_untaken: whether a case fails whose own edit did not take.
        judge: ``package.module:attribute`` of what scores generated texts; None: words are compared.
        thresholds: ini ``pitfalls_thresholds``, as typed.
        short_forms_taken: short options that belong to another plugin or conftest ("--model").
    """

    editors: tuple[str, ...] = ()
    editor_paths: Mapping[str, str] = field(default_factory=dict)
    editor_python: Path | None = None
    checkouts: Mapping[str, Path] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    suites: tuple[str, ...] = DEFAULT_SUITES
    suites_asked: bool = False
    properties: PropertiesConfig = PropertiesConfig()
    edits: EditsConfig | None = None
    limit: int | None = None
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    overrides_asked: frozenset[str] = frozenset()
    config_path: Path | None = None
    config_tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    released: ReleasedFile | None = None
    device: str = "auto"
    dtype: str | None = None
    batch_size: int | None = None
    seed: int = 0
    seed_asked: bool = False
    seeds: int = 1
    gates: tuple[str, ...] = ()
    gates_asked: tuple[str, ...] = ()
    store_path: Path = Path(DEFAULT_STORE)
    fresh: bool = False
    replay: bool = False
    replay_runs: tuple[str, ...] = ()
    shard: Shard | None = None
    timeout: float | None = None
    isolate: bool = False
    engine: str = "local"
    actors: int | None = None
    save: str | None = None
    baseline: str | None = None
    update_baseline: bool = False
    relative_gates: tuple[str, ...] = ()
    relative_gates_asked: tuple[str, ...] = ()
    inconclusive: Inconclusive = "cases"
    report_paths: Mapping[str, Path] = field(default_factory=dict)
    success_floor: float = SUCCESS_FLOOR
    fails_untaken: bool = True
    judge: str | None = None
    held_only: bool = False
    thresholds: tuple[str, ...] = ()
    short_forms_taken: tuple[str, ...] = ()

    @property
    def is_audit(self) -> bool:
        """Whether finished checkpoints are audited, and nothing is edited."""
        return bool(self.checkpoints)

    @property
    def labels(self) -> dict[str, str]:
        """Short label of each model, for node ids and results: model as typed -> label."""
        return model_labels(self.models)

    def model_of(self, label: str) -> str:
        """The model as typed that is called ``label``."""
        return next(model for model, known in self.labels.items() if known == label)

    def engine_settings(self, model: str) -> EngineSettings:
        """Return what the engine needs to open ``model`` (as typed)."""
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
