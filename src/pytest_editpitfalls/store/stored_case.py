"""One case as it is stored, and how a stored file is sealed so that damage shows. Torch-free.

A file is one JSON object, ``{"checksum": "...", "content": {...}}``, written in one exact form: whatever differs from
it in one bit is not read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from pytest_editpitfalls.cases.case import Case, Kind
from pytest_editpitfalls.cases.digests import case_digest, program_digest
from pytest_editpitfalls.pitfalls import compute_metrics
from pytest_editpitfalls.probes import Measure
from pytest_editpitfalls.program import CaseScores, ProbeScore, Program
from pytest_editpitfalls.results.build import probe_facts

from .identity import FORMAT, RunHeader, sayable

MAX_BYTES = 32 * 1024 * 1024
"""A stored file above this size is none of ours."""

_BEFORE, _BETWEEN, _AFTER = b'{"checksum":"', b'","content":', b"}\n"
_HEX = 64

_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _read_number(value: object) -> object:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value


def _write_number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


Number = Annotated[float, BeforeValidator(_read_number), PlainSerializer(_write_number)]
"""Any float, bit for bit (a NaN as a NaN); what is not finite is a text in JSON."""


def _read_numbers(values: object) -> object:
    if not isinstance(values, list):
        return values
    try:
        sum(values)
    except TypeError:  # a text among them
        return [_read_number(value) for value in values]
    return values


def _write_numbers(values: list[float]) -> list[float | str] | list[float]:
    return values if math.isfinite(sum(values)) else [_write_number(value) for value in values]


Numbers = Annotated[list[float], BeforeValidator(_read_numbers), PlainSerializer(_write_numbers)]
"""A list of `Number`: a call for each of them would take longer than the rest of a record."""

Text = Annotated[str, BeforeValidator(lambda value: sayable(value) if isinstance(value, str) else value)]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class StoredProbe(_Stored):
    """One fact in one state: a probability for each prompt, or another measure's value.

    A probe of probabilities is written without `measure` and `texts`, as it was before there were others.
    """

    fact: Text
    state: Text
    probabilities: Numbers
    tokens: int | None = None
    measure: Measure = "probability"
    texts: list[Text] = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        whole: dict[str, Any] = handler(self)
        if self.measure == "probability":
            del whole["measure"], whole["texts"]
        return whole


class StoredJudge(_Stored):
    """The judge that scored a case's texts.

    Attributes:
        name: ``package.module:attribute``, as it was given.
        source: digest of its source code; None where that cannot be read.
        once: id of the run where it cannot: no other run finds these scores by key.
    """

    name: Text
    source: str | None
    once: str | None = None


class StoredCase(_Stored):
    """One case with one editor on one model, as computed: probes first, everything else can be made from them.

    Attributes:
        key: `identity.case_key`; the file's name.
        header: key of the run header.
        suite: name of the suite that it was run from.
        model: label of the model in the run that computed it.
        case_digest: of what the case says.
        program_digest: of what was run.
        probes: the answers, in the program's order; empty where there is an error or a skip.
        held_parts: for each fact that the case takes for granted, whether the base model holds it.
        seconds: the case's share of its batch's wall time.
        timings: the same by stage.
        error: why it could not be computed.
        skipped: why it cannot be scored on this model at all.
        metrics: as computed when it was stored; a replay computes them again.
        judge: what scored its texts; None, and not written, where words were compared or nothing was said.
    """

    format: Literal[3] = FORMAT
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    header: str = Field(pattern=r"^[0-9a-f]{64}$")
    suite: Text
    kind: Kind
    case_id: Text
    editor: Text
    model: Text
    case_digest: str
    program_digest: str
    probes: list[StoredProbe]
    held_parts: dict[Text, bool | None]
    notes: list[Text]
    seconds: Number
    timings: dict[str, Number]
    error: Text | None
    skipped: Text | None
    metrics: dict[str, Number | None]
    judge: StoredJudge | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        whole: dict[str, Any] = handler(self)
        if self.judge is None:
            del whole["judge"]
        return whole

    @classmethod
    def of(
        cls,
        key: str,
        header: RunHeader,
        case: Case,
        program: Program,
        scores: CaseScores,
        *,
        model: str,
        metrics: Mapping[str, float | None] | None = None,
        judge: StoredJudge | None = None,
    ) -> StoredCase:
        """The record of one finished case.

        Args:
            key: its `identity.case_key`.
            metrics: those of ``scores``, where they are known already; default: computed here.
            judge: what scored its texts.
        """
        if not scores.probes:
            metrics = {}
        elif metrics is None:
            metrics = compute_metrics(case.kind, scores.probes)
        # one call for the whole tree, as strict as one for each probe, at a third of the time
        return cls.model_validate(
            {
                "key": key,
                "header": header.key,
                "suite": case.suite,
                "kind": case.kind,
                "case_id": case.id,
                "editor": header.editor,
                "model": model,
                "case_digest": case_digest(case),
                "program_digest": program_digest(program),
                "probes": probe_facts(scores.probes),
                "held_parts": dict(scores.held_parts),
                "notes": list(scores.notes),
                "seconds": scores.seconds,
                "timings": {sayable(stage): seconds for stage, seconds in scores.timings.items()},
                "error": scores.error,
                "skipped": scores.skipped,
                "metrics": dict(metrics),
                "judge": judge,
            }
        )

    @property
    def is_error(self) -> bool:
        """Whether it holds no result: shown by a replay, computed again by any other run."""
        return self.error is not None

    def scores(self) -> CaseScores:
        """What the engine answered."""
        return CaseScores(
            case_id=self.case_id,
            probes=tuple(
                ProbeScore(
                    probe.fact,
                    probe.state,
                    tuple(probe.probabilities),
                    probe.tokens,
                    probe.measure,
                    tuple(probe.texts),
                )
                for probe in self.probes
            ),
            held_parts=dict(self.held_parts),
            seconds=self.seconds,
            notes=tuple(self.notes),
            error=self.error,
            skipped=self.skipped,
            timings=dict(self.timings),
        )


def sealed(content: dict[str, Any]) -> bytes:
    """``content`` (plain JSON types) as the bytes of a stored file."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return _BEFORE + hashlib.sha256(body).hexdigest().encode() + _BETWEEN + body + _AFTER


def unsealed(data: bytes) -> bytes | None:
    """The content of a stored file as JSON text; None where one bit is not as it was written."""
    start = len(_BEFORE) + _HEX + len(_BETWEEN)
    body = data[start : -len(_AFTER)]
    seal = _BEFORE + hashlib.sha256(body).hexdigest().encode() + _BETWEEN
    return body if data[:start] == seal and data[start:] == body + _AFTER else None
