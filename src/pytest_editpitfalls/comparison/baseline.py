"""A baseline: the outcomes and metrics of a run, small enough to be committed, one case per line.

What changes with every save (time, machine, versions) stands in the first lines; the line of a case changes only when
the case does.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, FailFast, Field, ValidationError, field_validator, model_validator

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.cases.digests import digest_of
from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.files import MAX_FILE_BYTES, is_there, read_bounded, refuse_repeated_fields
from pytest_editpitfalls.options.editor_labels import with_seed, without_seed
from pytest_editpitfalls.outputs import check_writable, write_text
from pytest_editpitfalls.results.record import Number, Record
from pytest_editpitfalls.results.records import CaseRecord, Outcome, RunResults
from pytest_editpitfalls.results.run_records import EditorRecord, JudgeRecord
from pytest_editpitfalls.validation import usage_error

FORMAT = "pytest-editpitfalls baseline"
SCHEMA_VERSION = 2
"""2: the digest of a case covers its whole row, so that those of version 1 cannot be compared."""
DIGITS = 16
"""Hex digits of a digest of probabilities."""
FOLDER = "pitfalls-baselines"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")

CaseKey = tuple[str, str, str, str]
"""(suite, editor, model, id)."""

FAILED: frozenset[Outcome] = frozenset({"failed", "xfailed"})
UNSCORED: frozenset[Outcome] = frozenset({"skipped", "error"})


class FrozenRecord(Record):
    """Base of the records here: read once, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class BaselineCase(FrozenRecord):
    """One case with one editor on one model."""

    id: str
    outcome: Outcome
    subject: str = Field(default="", description="subject of edit 1")
    digest: str = Field(description="of what the case asks")
    metrics: dict[str, Number] = Field(default_factory=dict)
    scores: str = Field(
        default="", description="digest of all probabilities of the case; empty: an earlier version saved it"
    )

    @field_validator("metrics", mode="before")
    @classmethod
    def _no_nan(cls, value: object) -> object:
        # a record makes null of what is not finite, but a file that holds it was not written by this program
        if isinstance(value, dict) and any(
            isinstance(number, float) and number - number != 0 for number in value.values()
        ):
            raise ValueError("a metric is no finite number")
        return value


class BaselineGroup(FrozenRecord):
    """The cases of one suite with one editor on one model, sorted by id."""

    suite: str
    editor: str
    model: str
    cases: Annotated[tuple[BaselineCase, ...], FailFast()]


class BaselineSuite(FrozenRecord):
    """A suite as it was."""

    name: str
    kind: Kind
    format: str
    digest: str = Field(description="SHA-256 over its files")
    total: int = Field(ge=0, description="cases in its file")
    judge: JudgeRecord | None = Field(
        default=None, description="what scored the texts of its cases; null: words were compared, or nothing was said"
    )


class BaselineModel(FrozenRecord):
    """A model as it was."""

    name: str
    fingerprint: str | None = None


class Baseline(FrozenRecord):
    """The whole file."""

    format: Literal["pytest-editpitfalls baseline"] = "pytest-editpitfalls baseline"
    schema_version: Literal[2] = 2
    started: str | None = Field(default=None, description="when the run started")
    machine: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    metric_definitions: str
    suites: tuple[BaselineSuite, ...]
    models: tuple[BaselineModel, ...]
    editors: tuple[EditorRecord, ...]
    groups: Annotated[tuple[BaselineGroup, ...], FailFast()]

    @model_validator(mode="after")
    def _cases_once(self) -> Baseline:
        if len(self.by_key) != sum(len(group.cases) for group in self.groups):
            raise ValueError("a case stands in it twice")
        return self

    @classmethod
    def of(cls, results: RunResults, *, machine: Mapping[str, str] | None = None) -> Baseline:
        """Return the baseline that a run makes; ``machine``: what is known besides device and number type.

        Raises:
            UsageError: the run has no cases, or it was made before cases and metrics carried their digests.
        """
        run = results.run
        if not results.cases:
            raise UsageError("the run has no cases", fix="run at least one suite")
        if not run.metric_definitions or not all(case.digest for case in results.cases):
            raise UsageError(
                "the results do not say what their cases asked: an older version made them",
                fix="run the suites again",
            )
        groups: dict[tuple[str, str, str], list[BaselineCase]] = {}
        for case in results.cases:
            kept = case.model_dump(include={"id", "outcome", "subject", "digest", "metrics"})
            groups.setdefault(case.key[:3], []).append(BaselineCase(**kept, scores=scores_digest(case)))
        used = {group[0] for group in groups}
        facts = {"device": run.device, "dtype": run.dtype, **(machine or {})}
        return cls(
            started=run.started,
            machine={name: value for name, value in sorted(facts.items()) if value is not None},
            versions=dict(sorted(run.versions.items())),
            metric_definitions=run.metric_definitions,
            suites=tuple(
                BaselineSuite(**suite.model_dump(include={"name", "kind", "format", "digest", "total", "judge"}))
                for suite in sorted(run.suites, key=lambda suite: suite.name)
                if suite.name in used
            ),
            models=tuple(
                BaselineModel(name=model.name, fingerprint=model.fingerprint)
                for model in sorted(run.models, key=lambda model: model.name)
            ),
            editors=tuple(sorted(run.editors, key=lambda editor: (editor.name, editor.model))),
            groups=tuple(
                BaselineGroup(
                    suite=suite,
                    editor=editor,
                    model=model,
                    cases=tuple(sorted(cases, key=lambda case: case.id)),
                )
                for (suite, editor, model), cases in sorted(groups.items())
            ),
        )

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read a baseline.

        Raises:
            UsageError: it is absent, too large, cut off, damaged, of another version or no baseline at all.
        """
        if not is_there(path, "--pitfalls-baseline"):
            raise UsageError(
                "there is no such baseline",
                where=str(path),
                fix="check the name, or make it with --pitfalls-update-baseline in a complete run",
            )
        data = read_bounded(path, MAX_FILE_BYTES)
        document = _document(data, str(path))
        _refuse_foreign(document, str(path))
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise usage_error(error, str(path), cls) from None

    def text(self) -> str:
        """Return the file's text: a header, then one sorted case per line; numbers as short as they come back equal."""
        # How many cases were edited together is the machine's affair: in a diff it would be noise.
        head = self.model_dump(mode="json", exclude={"groups": True, "editors": {"__all__": {"batch"}}})
        lines = [f" {_json(name)}: {_json(value)}," for name, value in head.items() if not _long(value)]
        for name in (name for name, value in head.items() if _long(value)):
            items = ",\n".join(f"  {_json(item)}" for item in head[name])
            lines.append(f" {_json(name)}: [\n{items}\n ],")
        groups = []
        for group in self.groups:
            cases = ",\n".join(f"   {_json(case.model_dump(mode='json'))}" for case in group.cases)
            label = _json(group.model_dump(mode="json", exclude={"cases"}))[:-1]
            groups.append(f'  {label}, "cases": [\n{cases}\n  ]}}')
        return "\n".join(["{", *lines, ' "groups": [', ",\n".join(groups), " ]", "}"]) + "\n"

    def write(self, path: Path, *, where: str = "--pitfalls-save") -> None:
        """Write the baseline, whole or not at all; the folder of named baselines is made where it is missing.

        Raises:
            UsageError: it cannot be written; an earlier file is left as it was.
        """
        if path.parent.name == FOLDER and path.parent.parent.is_dir():
            try:
                path.parent.mkdir(exist_ok=True)
            except OSError as error:
                raise UsageError(
                    f"cannot make the folder '{path.parent}': {error.strerror}",
                    where=where,
                    fix="name a file in a directory that you may write to",
                ) from None
        write_text(self.text(), path, where=where)

    @cached_property
    def by_key(self) -> dict[CaseKey, BaselineCase]:
        """Every case by (suite, editor, model, id)."""
        return {
            (group.suite, group.editor, group.model, case.id): case for group in self.groups for case in group.cases
        }

    def label_of(self, editor: str, model: str, seed: int | None) -> str:
        """Return what the baseline calls an editor of a run: the same label, or another one that had the same seed.

        A run under one seed has a plain label, one under several has a label for each.

        Args:
            editor: its label in the run.
            model: label of the model.
            seed: what it draws under in the run; None: not known.
        """
        labels = {group.editor: None for group in self.groups if group.model == model}
        if editor in labels or seed is None:
            return editor
        if (other := with_seed(editor, seed)) in labels:
            return other
        plain = without_seed(editor)
        there = next((each.seed for each in self.editors if (each.name, each.model) == (plain, model)), None)
        return plain if plain in labels and there == seed else editor

    def failed(self, key: CaseKey, seed: int | None = None) -> bool:
        """Return whether the case failed in the baseline, so that a failure now is a known pitfall.

        Args:
            key: the case in the run.
            seed: what its editor draws under.
        """
        suite, editor, model, case_id = key
        case = self.by_key.get((suite, self.label_of(editor, model, seed), model, case_id))
        return case is not None and case.outcome in FAILED


def scores_digest(case: CaseRecord) -> str:
    """Return a digest of all values and texts that a case was scored with, to the last bit; "" where it has none."""
    if not case.probes:
        return ""
    probes = sorted(case.probes, key=lambda probe: (probe.fact, probe.state))
    return digest_of([[p.fact, p.state, p.probabilities, *([p.texts] if p.texts else [])] for p in probes])[:DIGITS]


def resolve(name_or_file: str, root: Path, *, where: str = "--pitfalls-baseline") -> Path:
    """Return the file of a baseline.

    Args:
        name_or_file: a name (letters, digits, ``-`` and ``_``), which lives in the folder ``pitfalls-baselines``
            below ``root``, or a file: anything with a suffix or a slash, relative to ``root``.

    Raises:
        UsageError: it is neither.
    """
    if _NAME.fullmatch(name_or_file):
        return root / FOLDER / f"{name_or_file}.json"
    if "\0" not in name_or_file and ("/" in name_or_file or "\\" in name_or_file or Path(name_or_file).suffix):
        return root / Path(name_or_file).expanduser()
    raise UsageError(
        f"'{name_or_file}' is no name of a baseline",
        where=where,
        fix="use letters, digits, '-' and '_' for a name, or name a file: main.json",
    )


def check_place(path: Path, *, where: str) -> None:
    """Find out before the run whether a baseline can be written to ``path``; raises as `check_writable`."""
    folder = path.parent
    if folder.name == FOLDER and folder.parent.is_dir() and not os.path.lexists(folder):
        path = folder.parent / path.name  # the folder will be made
    check_writable(path, where=where)


def incomplete(results: RunResults) -> list[str]:
    """Return why a run has a part of its cases only; no baseline is saved from such a run. Empty when it has all.

    Errors count as missing: they say nothing about the editor.
    """
    run, reasons = results.run, []
    if run.shard is not None:
        reasons.append(f"it ran shard {run.shard} of its cases")
    if run.exit_status is not None and run.exit_status not in (0, 1):
        reasons.append(f"it ended early (exit status {run.exit_status})")
    counts = Counter(case.key[:3] for case in results.cases)
    suites = {suite.name: suite for suite in run.suites}
    for (name, editor, model), count in counts.items():
        total = suites[name].total if name in suites else count
        if count < total:
            reasons.append(f"it has {count} of {total} cases of {name} with {editor} on {model}")
    reasons += [
        f"no case of {suite.name} ran" for suite in run.suites if not any(name == suite.name for name, *_ in counts)
    ]
    if errors := sum(case.outcome == "error" for case in results.cases):
        reasons.append(f"{errors} case{'' if errors == 1 else 's'} ended in an error")
    return reasons


def _document(data: bytes, where: str) -> Any:
    def refuse(constant: str) -> None:
        raise UsageError(f"'{constant}' is no number in JSON", where=where, fix="save the baseline again")

    try:
        document = json.loads(data, parse_constant=refuse)
        refuse_repeated_fields(data, where)
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise UsageError(
            f"not valid JSON: {what}",
            where=where,
            fix="the file is damaged or cut off: restore it, or save the baseline again",
        ) from None
    return document


def _refuse_foreign(document: Any, where: str) -> None:
    again = "save one with --pitfalls-save"
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        if isinstance(document, dict) and {"run", "cases"} <= document.keys():
            raise UsageError(
                "this is a result file, not a baseline",
                where=where,
                fix=f"{again}, or compare result files with 'editpitfalls compare'",
            )
        raise UsageError("this is no baseline", where=where, fix=again)
    version = document.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise UsageError(
            f"the baseline has schema version {version!r}, this program reads {SCHEMA_VERSION}",
            where=where,
            fix="update pytest-editpitfalls" if newer else "save the baseline again",
        )


def _long(value: Any) -> bool:
    """Whether a part of the header gets a line for each of its items."""
    return isinstance(value, list) and bool(value)


def _json(value: Any) -> str:
    # ASCII: a diff shows control characters and look-alikes as what they are
    return json.dumps(value, allow_nan=False)
