"""The table of docs/findings.md is made of the cases of a run."""

from __future__ import annotations

import pytest
from benchmarks.findings import NO_EDIT, TABLES, aggregates_of, tables
from tests.reports.report_samples import results

from pytest_editpitfalls.pitfalls import metric_of


def rows_of(text: str, title: str) -> list[list[str]]:
    block = text.split(f"{title}\n\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()]


def test_the_row_without_an_edit_is_the_control() -> None:
    run = results(30)
    header, _, *rows = rows_of(tables([run]), "Conflict")
    assert [row[:2] for row in rows] == [
        [suite, editor] for suite in ("reverse", "composite", "coverage") for editor in (NO_EDIT, "rome", "memit")
    ]
    place = header.index("`cs_exp`")
    for row in rows:
        metric = "cs_exp_0" if row[1] == NO_EDIT else "cs_exp"
        values = [
            case.metrics[metric]
            for case in run.cases
            if case.suite == row[0] and case.editor == ("rome" if row[1] == NO_EDIT else row[1])
        ]
        mean = sum(value for value in values if value is not None) / len(values)
        assert row[place].startswith(f"{100 * mean:.0f} [")
    assert rows[0][header.index("`cs_exp_lift`")] == ""


def test_what_nothing_was_done_to_is_whole() -> None:
    header, _, *rows = rows_of(tables([results(12)]), "Distortion")
    assert dict(zip(header, rows[0], strict=True))["`mass_ratio`"] == "100"
    assert dict(zip(header, rows[0], strict=True))["`ir`"] == "0"


def test_figures_come_from_the_cases_and_not_from_the_file() -> None:
    run = results(12)
    run.aggregates.clear()
    assert aggregates_of([run])["reverse", "rome"].n == 12


@pytest.mark.parametrize(("suites", "metrics"), [each[1:] for each in TABLES])
def test_its_metrics_exist(suites: tuple[str, ...], metrics: tuple[str, ...]) -> None:
    kinds = {"easy": "round", "hard": "round"}
    for suite in suites:
        missing = {name for name in metrics if metric_of(kinds.get(suite, suite), name) is None}
        assert missing <= ({"cs_imp", "cs_imp_lift", "cs_same", "cs_same_lift"} if suite == "coverage" else set())


def test_a_later_pitfall_has_a_table_of_its_own() -> None:
    """Its columns and their lifts, under the model before any edit; no share is written as one."""
    run = results(12)
    (record,) = [suite for suite in run.run.suites if suite.name == "reverse"]
    record.name, record.kind = "near", "locality"
    names = {"es": 1.0, "ns": 0.25, "ns_0": 0.5, "ns_lift": -0.25, "nm": -0.001, "neighbours_log_ratio": -1.5}
    run.cases = [case for case in run.cases if case.suite == "reverse"]
    for case in run.cases:
        case.suite, case.metrics = "near", dict(names)
    header, _, *rows = rows_of(tables([run]), "What an edit spreads to: near")
    assert header[:4] == ["editor", "n", "`es`", "`ns`"], "no case has a PS"
    assert [row[0] for row in rows] == [NO_EDIT, "rome", "memit"]
    assert rows[0][header.index("`ns`")].startswith("50 ")
    assert rows[1][header.index("`ns`")].startswith("25 ")
    assert rows[1][header.index("`ns_lift`")].startswith("-25 ")
    assert rows[1][header.index("`nm`")].startswith("0 "), "what rounds to nothing has no sign"
    assert rows[0][header.index("`ns_lift`")] == ""
