"""Items that no worker survives: what the plan says of each item, and the report made of it without a worker."""

from __future__ import annotations

from typing import Any

from pytest_editpitfalls.session.parametrize import CaseParam


def about(param: CaseParam) -> dict[str, Any]:
    """What a report needs to name an item's case, as plain JSON types."""
    return {
        "suite": param.suite.name,
        "kind": param.case.kind,
        "editor": param.editor,
        "model": param.model,
        "id": param.case.id,
        "source_index": param.case.source_index,
        "index": param.index,
    }


def given_up(about: dict[str, Any], nodeid: str, reason: str) -> dict[str, Any]:
    """The report's payload of an item that is given up: its case is an error."""
    from pytest_editpitfalls.results.records import CaseRecord

    named = {field: about[field] for field in ("id", "source_index", "suite", "editor", "model")}
    record = CaseRecord(**named, outcome="error", reason=reason)
    return {
        "record": record.model_dump(mode="json"),
        "kind": about["kind"],
        "index": about["index"],
        "nodeid": nodeid,
        "timings": {},
        "seconds": {},
    }
