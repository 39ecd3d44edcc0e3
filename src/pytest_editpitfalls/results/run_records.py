"""How the figures of a run came about, as types: editors, models, suites, judge, options, versions and times."""

from __future__ import annotations

from pydantic import Field, JsonValue

from .checkpoint_records import CheckpointRecord
from .record import Number, Record
from .rerun_record import RerunRecord


class EditorRecord(Record):
    """An editor with the hyper-parameters that it ran with on one model; or an edited checkpoint in its place."""

    name: str
    model: str = Field(description="label of the model, as in `cases[].model`")
    seed: int | None = Field(default=None, description="what it drew under; null: not known")
    hyper_parameters: dict[str, JsonValue] = Field(
        default_factory=dict, description="all hyper-parameters by their published names, overrides included"
    )
    second_moment: dict[str, JsonValue] | None = Field(
        default=None, description="where E[kk^T] came from: source, tokens, ridge; null when it is not used"
    )
    batch: dict[str, JsonValue] | None = Field(
        default=None,
        description="cases edited together at most, padded tokens of one pass at most, and why not more; "
        "null when it is not known",
    )
    checkpoint: CheckpointRecord | None = Field(
        default=None, description="the edited checkpoint that was audited; null: an editor edited"
    )


class ModelRecord(Record):
    """A model of the run."""

    name: str = Field(description="its label, as in `cases[].model` and in node ids")
    source: str | None = Field(
        default=None, description="the model as the user named it: short name, id, directory or file"
    )
    fingerprint: str | None = Field(default=None, description="content key of weights and configuration")
    family: str | None = Field(default=None, description="declaration of the architecture")
    device: str | None = None
    dtype: str | None = None
    details: dict[str, JsonValue] = Field(default_factory=dict)


class JudgeRecord(Record):
    """Somebody's own judge of what a model says (`--pitfalls-judge`)."""

    name: str = Field(description="`package.module:attribute`, as it was given")
    source: str | None = Field(default=None, description="digest of its source code; null: it could not be read")

    def is_other_than(self, other: JudgeRecord) -> bool:
        """Whether the two are known not to be the same."""
        sources = {self.source, other.source} - {None}
        return self.name != other.name or len(sources) > 1

    def __str__(self) -> str:
        """Name and source, for a message."""
        return f"judge {self.name} (source {self.source or 'unknown'})"


class SuiteRecord(Record):
    """A suite of the run."""

    name: str
    kind: str = Field(description="the kind of pitfall: reverse, composite, coverage, round, or somebody's own")
    format: str = Field(description="the format that it was read from: own, published, or another one")
    source: str = Field(description="the suite's file")
    digest: str = Field(description="SHA-256 over its files")
    total: int = Field(ge=0, description="cases in the file")
    selected: int = Field(ge=0, description="cases that were selected")
    thresholds: list[str] = Field(default_factory=list, description="case thresholds that applied")
    license: str = ""
    provenance: str = ""
    judge: JudgeRecord | None = Field(
        default=None, description="what scored the texts of its cases; null: words were compared, or nothing was said"
    )


class RunRecord(Record):
    """How the figures came about."""

    started: str | None = Field(default=None, description="time of the start, ISO 8601 with zone")
    seconds: Number = Field(default=None, description="wall time of the run")
    command: list[str] = Field(default_factory=list, description="the arguments of pytest")
    reruns: list[RerunRecord] = Field(default_factory=list, description="how a case is run again, by itself")
    exit_status: int | None = None
    seed: int = Field(default=0, description="seed of everything random; with several seeds the first")
    seeds: int = Field(default=1, ge=1, description="`--pitfalls-seeds`")
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = Field(default=None, description="cases per batch; null means automatic")
    limit: int | None = Field(default=None, description="`--pitfalls-limit`")
    metric_definitions: str = Field(
        default="", description="digests of the definitions that the metrics were computed with, by kind"
    )
    shard: str | None = Field(default=None, description="`--pitfalls-shard`: which of how many parts")
    replay: bool = Field(default=False, description="all results came from a store, no model was loaded")
    success_floor: Number = Field(
        default=None, description="edit success under which figures are unreliable, judged by its interval"
    )
    editors: list[EditorRecord] = Field(default_factory=list)
    models: list[ModelRecord] = Field(default_factory=list)
    suites: list[SuiteRecord] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict, description="package or tool -> version")
    timings: dict[str, Number] = Field(default_factory=dict, description="stage -> seconds")
    first_result: dict[str, Number] = Field(
        default_factory=dict,
        description="seconds from pytest's start to the first case with a result (`total`), and stage -> seconds "
        "before it",
    )
