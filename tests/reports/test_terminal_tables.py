"""Tables on terminals of any width, and the line above them that says what a run comes to."""

from __future__ import annotations

import pytest
from report_samples import results

from pytest_editpitfalls.reports.terminal import body, drawn
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.comparison_records import CaseKeyRecord, ComparisonRecord, MetricChange, ReasonRecord
from pytest_editpitfalls.results.records import MetricAggregate


def lines_of(run: RunResults, width: int) -> list[str]:
    return drawn(body(RunView(run), width=width), width=width, force_terminal=False, color_system=None)


def tables_in(lines: list[str]) -> list[str]:
    """The lines up to the worst cases."""
    return lines[: next(place for place, line in enumerate(lines) if line.startswith("Worst cases"))]


def compared(*new: CaseKeyRecord) -> ComparisonRecord:
    none = dict.fromkeys(("known", "unchanged", "errors", "lost", "gained", "new", "deselected"), 0)
    return ComparisonRecord(base="old.json", paired=24, new_failures=[*new], **none)


@pytest.mark.parametrize("editors", [("rome",), ("rome", "memit")])
@pytest.mark.parametrize("models", [("gpt2-xl",), ("gpt2-xl", "gpt-j-6b")])
def test_80_columns_hold_tables(editors: tuple[str, ...], models: tuple[str, ...]) -> None:
    run = results(12, editors=editors, models=models)
    lines = tables_in(lines_of(run, 80))
    assert max(map(len, lines)) <= 80
    headings = [line.split() for line in lines if line.lstrip().startswith("suite")]
    for metric in ("ES", "PS", "CM", "TFD", "IR", "FR"):
        assert any(metric in heading for heading in headings), metric
    own = [line for line in lines if line.lstrip().startswith("reverse")]
    assert len(own) <= 3 * len(editors) * len(models)  # as many as there are grids, not one for each metric
    assert not any(line.lstrip().startswith(("ES ", "PS ", "CM ")) for line in lines)


def test_what_all_rows_have_in_common_stands_in_the_title() -> None:
    def said(editors: tuple[str, ...], models: tuple[str, ...]) -> tuple[str, str]:
        lines = lines_of(results(6, editors=editors, models=models), 200)
        title = next(line for line in lines if line.startswith("Knowledge conflict"))
        return title, " ".join(next(line for line in lines if line.lstrip().startswith("suite")).split()[:3])

    assert said(("rome",), ("gpt2-xl",)) == ("Knowledge conflict (%), rome on gpt2-xl", "suite n held")
    assert said(("rome", "ft"), ("gpt2-xl",)) == ("Knowledge conflict (%), on gpt2-xl", "suite editor n")
    assert said(("rome",), ("gpt2-xl", "b")) == ("Knowledge conflict (%), rome", "suite model n")
    assert said(("rome", "ft"), ("gpt2-xl", "b")) == ("Knowledge conflict (%)", "suite editor model")


def test_grids_show_every_figure_once() -> None:
    run = results(12, editors=("rome",))
    for number, aggregate in enumerate(run.aggregates):
        for place, name in enumerate(aggregate.metrics):
            aggregate.metrics[name] = MetricAggregate(value=number / 10 + place / 1000, low=0.0, high=1.0, n=12)
    view = RunView(run)
    text = " ".join(tables_in(lines_of(run, 60)))
    for table in view.tables:
        for row in table.rows:
            for name in table.columns:
                if name in row.cells and name not in ("cm", "tfd", "d"):
                    assert f"{row.cells[name].value:.1%}"[:-1] in text, (row.suite, name)


def test_the_first_line_says_what_fell() -> None:
    run = results(12, suites=("reverse",), editors=("rome",), label="passed")
    assert lines_of(run, 120)[0] == "rome on gpt2-xl: no threshold is missed by 12 cases"
    for case in run.cases[:2]:
        case.outcome = "failed"
    run.cases[2].outcome = "skipped"
    run.cases[3].outcome = "error"
    assert lines_of(run, 120)[0] == "rome on gpt2-xl: 2 of 10 cases miss a threshold (reverse 2); 1 error"
    metrics = run.aggregates[0].metrics
    metrics["cs_exp_lift"] = MetricAggregate(value=-0.3, low=-0.5, high=-0.1, n=12)
    metrics.setdefault("cs_exp_0", MetricAggregate(value=0.5, low=0.1, high=0.9, n=12))
    assert lines_of(run, 120)[0].endswith("(reverse 2); 1 error; worse than no edit: CS exp (reverse)")


def test_a_case_that_became_worse_is_told_once() -> None:
    run = results(12, suites=("reverse",), editors=("rome",))
    failed = [case for case in run.cases if case.outcome == "failed"]
    assert len(failed) > 1
    new = CaseKeyRecord(suite="reverse", editor="rome", model="gpt2-xl", id=failed[0].id)
    run.comparison = compared(new)
    lines = lines_of(run, 120)
    assert sum(f" {failed[0].id} " in line for line in lines) == 1
    assert any(line.startswith("Worst other cases, with") for line in lines)


def test_the_first_line_has_gates_and_new_failures_of_its_own_editor() -> None:
    run = results(12, suites=("reverse",), editors=("rome", "ft"), label="passed", gates=("reverse.es >= 1",))
    new = CaseKeyRecord(suite="reverse", editor="ft", model="gpt2-xl", id=run.cases[0].id)
    run.comparison = compared(new)
    rome, ft = (each.text for each in RunView(run).outcomes)
    assert rome == "rome on gpt2-xl: no threshold is missed by 12 cases; 1 of 1 gates fails"
    assert (
        ft
        == "ft on gpt2-xl: no threshold is missed by 12 cases; 1 of 1 gates fails; 1 new failure against the baseline"
    )
    assert all(each.state == "bad" for each in RunView(run).outcomes)


def test_the_first_line_is_green_only_where_all_is_well() -> None:
    run = results(4, suites=("reverse",), editors=("rome",), label="passed")

    def said() -> tuple[str, str]:
        (only,) = RunView(run).outcomes
        return only.text.removeprefix("rome on gpt2-xl: "), only.state

    assert said() == ("no threshold is missed by 4 cases", "good")
    for case in run.cases:
        case.outcome = "xfailed"
    assert said() == ("4 of 4 cases miss a threshold (reverse 4); all known pitfalls", "unknown")
    run.cases[0].outcome = "failed"
    assert said() == ("4 of 4 cases miss a threshold (reverse 4); 3 of them known", "bad")
    for case in run.cases:
        case.outcome = "error"
    assert said() == ("no case was scored; 4 errors", "bad")
    for case in run.cases:
        case.outcome = "skipped"
    assert said() == ("no case was scored", "unknown")
    run.reasons = [ReasonRecord(what="unreliable", suite="reverse", editor="rome", model="gpt2-xl", text="x")]
    assert said() == ("no case was scored; its edits no longer take as in the baseline", "bad")


def test_narrow_tables_keep_every_suite_and_its_cases() -> None:
    run = results(12, suites=("reverse", "coverage"), editors=("rome",))
    for name in list(run.aggregates[1].metrics):
        if name in ("es", "ps", "cs_exp"):
            del run.aggregates[1].metrics[name]
    for width in (44, 60, 80, 200):
        lines = tables_in(lines_of(run, width))
        assert any(line.split()[:2] == ["coverage", "12"] for line in lines), width


def test_changes_have_their_arrows_in_every_form() -> None:
    run = results(12, suites=("reverse",), editors=("rome",))
    run.comparison = compared().model_copy(
        update={
            "changes": [MetricChange(suite="reverse", editor="rome", model="gpt2-xl", metric="es", base=0.0, now=1.0)]
        }
    )
    for width in (26, 60, 200):
        assert any("▲" in line and "better than there" not in line for line in lines_of(run, width)), width
