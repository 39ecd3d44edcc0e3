"""What one item reports: made where its test runs, read by the recorder in the process that writes results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from pytest_editpitfalls.cases.case import Kind
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.results.records import CaseRecord, Outcome


@dataclass(slots=True)
class ItemReport:
    """A case's record, and what only the summary needs.

    Attributes:
        index: the case's place in its suite.
        timings: the case's share of its batch's time: stage -> seconds.
        seconds: spent outside of batches since the last report of this process: stage -> seconds.
        engine: the engine's description of editor and model, where it is new or has changed.
        first_batch: seconds that this process's first batch took, once there was one.
        store_problem: why results of this process are not kept in the store.
        suite: `suite_facts`, where the other processes may not know the suite.
        usage_error: why the model or the editor cannot be used at all.
    """

    record: CaseRecord
    kind: Kind
    index: int
    nodeid: str
    timings: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    engine: Mapping[str, Any] | None = None
    first_batch: float | None = None
    store_problem: str | None = None
    suite: Mapping[str, Any] | None = None
    usage_error: str | None = None

    def set_outcome(self, outcome: Outcome, reason: str | None) -> None:
        """Set the outcome of the case, and the reason for it."""
        self.record.outcome = outcome
        self.record.reason = reason

    def to_wire(self) -> dict[str, Any]:
        """Return it as built-in types, for the trip over pytest's own report.

        A string or number of a library's own type (torch's version is one) would abort a run with pytest-xdist.
        """
        facts = {name: value for name in _FACTS if (value := getattr(self, name)) is not None}
        wire: dict[str, Any] = json.loads(json.dumps(facts, default=str))
        wire["record"] = self.record.model_dump(mode="json")
        return wire

    @classmethod
    def from_wire(cls, wire: Mapping[str, Any]) -> ItemReport:
        """Read what `to_wire` returned; this is where the record is validated."""
        return cls(**{**wire, "record": CaseRecord.model_validate(wire["record"])})

    @classmethod
    def given_up(cls, facts: Mapping[str, Any], nodeid: str, reason: str) -> ItemReport:
        """Return the report of an item that no worker survives, by its `case_facts`: its case is an error."""
        named = {name: facts[name] for name in ("id", "source_index", "suite", "editor", "model")}
        record = CaseRecord(**named, outcome="error", reason=reason)
        return cls(record, facts["kind"], facts["index"], nodeid)


_FACTS = tuple(each.name for each in fields(ItemReport) if each.name != "record")


def case_facts(case: SelectedCase) -> dict[str, Any]:
    """Return what `ItemReport.given_up` has to know of a case, as plain JSON types: it stands in the workers' plan."""
    return {
        "suite": case.suite.name,
        "kind": case.case.kind,
        "editor": case.editor,
        "model": case.model,
        "id": case.case.id,
        "source_index": case.case.source_index,
        "index": case.index,
    }
