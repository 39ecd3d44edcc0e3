"""Results with properties of two editors, each outcome once."""

from __future__ import annotations

from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.records import PropertyRecord
from pytest_editpitfalls.results.run_records import RunRecord

EDITS = [
    "edit 1: The capital of China is ... Beijing -> New Delhi",
    "edit 2: The capital of India is ... New Delhi -> Beijing",
]
WHY = (
    "log p of 'New Delhi' after 'The capital city of India is': -6.589 in a process of its own, -7.094 after the case "
    "of edit 1; they differ by 0.505, more than 0.00659 (and 7 more of 8)"
)
REPLAY = (
    "pytest 'pitfalls/properties.py::isolated[sticky-tiny]' --editor=sticky:sticky --model=tiny "
    """'--pitfalls-example=[["P36", "China", "New Delhi"], ["P36", "India", "Beijing"]]'"""
)
ONCE_MORE = "edit 1: The capital of France is ... Paris -> Rome"


def property_results(
    *, edits: list[str] = EDITS, why: str = WHY, declared: str = "it takes one more step"
) -> RunResults:
    """Return a run of properties alone."""

    def record(name: str, outcome: str, says: str, editor: str = "sticky:sticky", **more: object) -> PropertyRecord:
        return PropertyRecord.model_validate(
            {
                "property": name,
                "says": says,
                "editor": editor,
                "model": "tiny",
                "outcome": outcome,
                "examples": 3,
                **more,
            }
        )

    failure = "\n".join([*edits, "each edit is a case of its own that starts at the unedited model", why])
    return RunResults(
        run=RunRecord(exit_status=1, seconds=4.0, command=["--pitfalls-suite=properties"]),
        properties=[
            record("commute", "passed", "edits of unrelated subjects commute"),
            record(
                "idempotent",
                "xfailed",
                "the same edit twice is the same edit",
                declared=declared,
                edits=[ONCE_MORE],
                failure=f"{ONCE_MORE}\nlog p of 'Rome' after 'France has': -1 once, -0.5 twice",
                replay="pytest 'pitfalls/properties.py::idempotent[sticky-tiny]'",
            ),
            record(
                "isolated",
                "failed",
                "the state of one case never reaches another",
                edits=edits,
                failure=failure,
                replay=REPLAY,
            ),
            record("declared_weights", "skipped", "nothing outside changes", failure="the editor does not say which"),
            record("commute", "error", "edits of unrelated subjects commute", editor="rome", failure="out of memory"),
            record("idempotent", "passed", "the same edit twice is the same edit", editor="rome", declared="it drifts"),
        ],
    )
