"""An item's report as it travels from a worker to the controller."""

from __future__ import annotations

import numpy as np
from execnet.gateway_base import dumps

from pytest_editpitfalls.results import CaseRecord
from pytest_editpitfalls.session.item_report import ItemReport


class Version(str):
    """A string of a type of its own, as torch's version."""


def report() -> ItemReport:
    record = CaseRecord(
        id="one", source_index=3, suite="s", editor="rome", model="m", outcome="error", metrics={"es": 0.25}
    )
    return ItemReport(
        record,
        "reverse",
        0,
        "pitfalls/s.py::test_s[one]",
        timings={"edit": np.float64(0.5)},
        engine={"versions": {"torch": Version("2")}, "seed": 0},
    )


def test_only_builtin_types_travel():
    sent = report()
    wire = sent.to_wire()
    dumps(wire)  # what xdist does; it refuses all but built-in types
    assert ItemReport.from_wire(wire) == sent


def test_what_was_sent_does_not_change_with_a_later_outcome():
    sent = report()
    wire = sent.to_wire()
    sent.set_outcome("failed", "why")
    assert ItemReport.from_wire(wire).record.outcome == "error"
    later = ItemReport.from_wire(sent.to_wire()).record
    assert (later.outcome, later.reason) == ("failed", "why")
