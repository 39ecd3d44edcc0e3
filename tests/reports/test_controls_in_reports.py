"""No score without its control: every report shows the same score before any edit, and the lift over that."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from report_samples import results

from pytest_editpitfalls.pitfalls import (
    PITFALLS,
    Case,
    FactWords,
    Pitfall,
    Program,
    Row,
    Topic,
    edit_success,
    score_with_controls,
)
from pytest_editpitfalls.reports.html import render_html
from pytest_editpitfalls.reports.latex import latex_tables
from pytest_editpitfalls.reports.markdown import render_markdown
from pytest_editpitfalls.reports.terminal import body, drawn, short_summary
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.reports.view.tables import Controlled
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import MetricAggregate


def cell(value: float | None, low: float | None = None, high: float | None = None) -> MetricAggregate:
    return MetricAggregate(value=value, low=low, high=high, n=12)


def a_run(*, lift: tuple[float | None, float | None, float | None] = (-0.25, -0.4, -0.1)) -> RunResults:
    """Reverse: CS exp 20 where nobody who edits has 45. Composite: CS exp above its control."""
    run = results(12, suites=["reverse", "composite"], editors=["rome"], label="passed")
    reverse, composite = (aggregate.metrics for aggregate in run.aggregates)
    for name in ("cs_same", "cs_same_0", "cs_same_2", "cs_same_lift"):
        del reverse[name], composite[name]
    reverse |= {"cs_exp": cell(0.2, 0.1, 0.5), "cs_exp_0": cell(0.45, 0.2, 0.6), "cs_exp_lift": cell(*lift)}
    reverse |= {"cs_imp": cell(0.4), "cs_imp_0": cell(0.43), "cs_imp_lift": cell(-0.03, -0.3, 0.2)}
    composite |= {"cs_exp": cell(0.62, 0.4, 0.8), "cs_exp_0": cell(0.45), "cs_exp_lift": cell(0.171, 0.08, 0.26)}
    composite |= {"cs_imp": cell(0.5), "cs_imp_0": cell(0.5), "cs_imp_lift": cell(0.0, -0.1, 0.1)}
    return run


def terminal(run: RunResults, width: int, **options: Any) -> str:
    return "\n".join(drawn(body(RunView(run), width=width), width=width, **options))


WORSE = "! rome on gpt2-xl: worse than doing nothing: CS exp of reverse 20.0 (no edit 45.0)"
BELOW = "! rome on gpt2-xl: below doing nothing, but not for certain: CS imp of reverse 40.0 (no edit 43.0)"


def test_a_wide_terminal_has_control_and_lift_below_the_score() -> None:
    lines = terminal(a_run(), 160).splitlines()
    headings = next(line for line in lines if "CS exp" in line and "suite" in line)
    at = next(place for place, line in enumerate(lines) if line.lstrip().startswith("composite"))
    score, control, lift = lines[at], lines[at + 1], lines[at + 2]
    assert control.split() == ["no", "edit", "45.0", "50.0"]
    assert lift.split(maxsplit=1) == ["lift", "+17.1 [+8.0, +26.0]   +0.0 [-10.0, +10.0]"]
    end = headings.index("CS exp") + len("CS exp")
    assert score[:end].endswith("62.0 [40.0, 80.0]")
    assert control[:end].split()[-1] == "45.0"  # in the column of its score
    assert lift[:end].endswith("+17.1 [+8.0, +26.0]")
    assert {WORSE, BELOW} <= set(lines)


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_every_width_shows_them(width: int) -> None:
    text = terminal(a_run(), width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    assert "no edit" in flat
    assert re.search(r"\+17(\.1)? \[\+8(\.0)?, \+26(\.0)?\]|\+17 ", flat)
    assert WORSE in flat


def test_worse_than_doing_nothing_is_seen_at_a_glance() -> None:
    for width in (80, 160):
        text = terminal(a_run(), width, force_terminal=True, color_system="standard")
        red = re.findall(r"\x1b\[1;31m([^\x1b]*)", text)
        assert any("-25" in part for part in red)
        assert any("worse than doing nothing" in part for part in red)
        assert not any("+17" in part for part in red)


def test_the_short_summary_and_markdown() -> None:
    short = short_summary(RunView(a_run()))
    assert "CS exp 20.0 (no edit 45.0), CS imp 40.0 (no edit 43.0), CM " in short[0]
    assert {WORSE, BELOW} <= set(short)
    lines = render_markdown(a_run()).splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("| reverse | rome"))
    cells = [[part.strip() for part in line.split("|")[1:-1]] for line in lines[at : at + 3]]
    assert cells[1] == ["no edit", "", "", "", "", "", "45.0", "43.0", "", ""]
    assert cells[2][:6] == ["lift", "", "", "", "", ""]
    assert cells[2][6:8] == ["⚠️ -25.0 [-40.0, -10.0]", "⚠️ -3.0 [-30.0, +20.0]"]
    assert len(set(map(len, cells))) == 1


def test_html_has_them_in_the_line_of_the_score() -> None:
    page = re.sub(r"(?s)<script.*", "", render_html(a_run()))
    reverse = page[page.index('id="h-suite-0"') : page.index('id="h-suite-1"')]
    assert "▼ worse than doing nothing" in reverse
    assert "▼ below doing nothing" in reverse
    assert '<td class="num beside" data-title="no edit">45.0</td>' in reverse
    assert "−25.0 [−40.0, −10.0]" in reverse
    assert 'class="control"' in reverse
    figures = reverse[: reverse.index('<details class="rules">')]
    assert 'href="#metric-cs_exp"' in figures
    assert 'href="#metric-cs_exp_lift"' not in figures  # no line of its own: it stands beside its score
    assert "! Below doing nothing" in page
    composite = page[page.index('id="h-suite-1"') :]
    assert "+17.1 [+8.0, +26.0]" in composite
    assert "▼" not in composite


def test_latex_has_one_line_without_an_edit_and_a_lift_below_each_editor() -> None:
    text = latex_tables([NamedRun("a", a_run())])
    lines = text.splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("rome &"))
    assert lines[at - 1] == r"no edit & 45.00 & 43.00 &  & 45.00 & 50.00 &  &  \\"
    assert lines[at + 1].startswith(r"\quad lift & {\scriptsize $-$25.0$^{\ddagger}$} & ")
    assert lines[at + 2].startswith(r" & {\scriptsize [$-$40.0, $-$10.0]} & ")
    assert r"{\scriptsize +17.1}" in lines[at + 1]
    assert r"{\scriptsize [+8.0, +26.0]}" in lines[at + 2]
    assert r"$^{\ddagger}$ below doing nothing." in text
    both = a_run()
    for aggregate in results(12, suites=["reverse", "composite"], editors=["memit"]).aggregates:
        both.aggregates.append(aggregate)
    assert latex_tables([NamedRun("a", both)]).count(r"\quad no edit &") == 2  # of other cases: one for each


def test_where_the_interval_is_unknown_nothing_is_for_certain() -> None:
    run = a_run(lift=(-0.25, None, None))
    (line, *_) = RunView(run).below
    assert line.startswith("! rome on gpt2-xl: below doing nothing, but not for certain: CS exp of reverse 20.0")
    texts = [terminal(run, 160), terminal(run, 30), render_markdown(run)]
    assert all("-25.0 n too small" in " ".join(text.split()) for text in texts)
    assert "-25 n too small" in terminal(run, 80)
    page = re.sub(r"(?s)<script.*", "", render_html(run))
    assert "−25.0 n too small" in page
    assert r" & {\scriptsize n too small} & " in latex_tables([NamedRun("a", run)])
    assert not any("[]" in text or "None" in text for text in [*texts, page])


def test_a_mean_without_an_interval_says_that_there_are_too_few_cases() -> None:
    run = a_run()
    run.aggregates[0].metrics["cm"] = cell(0.375)
    run.aggregates[0].metrics["es"] = cell(None)
    (row, *_) = RunView(run).tables[0].rows
    assert (row.interval("cm"), row.interval("es")) == ("n too small", "")
    for text in (terminal(run, 200), terminal(run, 60), render_markdown(run)):
        assert "37.5 n too small" in text
    assert '37.5</td>\n    <td class="ci">n too small</td>' in render_html(run)
    for suite in run.run.suites:
        suite.format = "published"
    published = [row for row in RunView(run).tables[0].rows if row.published]
    assert published
    assert not any(row.interval(name) for row in published for name in row.cells)  # they never have one


def test_a_result_without_controls_has_no_line_for_them() -> None:
    run = a_run()
    for aggregate in run.aggregates:
        for name in [name for name in aggregate.metrics if name.endswith(("_0", "_2", "_lift"))]:
            del aggregate.metrics[name]
    texts = [terminal(run, 120), render_markdown(run), latex_tables([NamedRun("a", run)])]
    assert not any("no edit" in text or "lift" in text for text in texts)
    assert '<th scope="col">lift' not in render_html(run)


def test_below_depends_on_the_direction_of_the_score() -> None:
    def beside(higher: bool, *lift: float | None) -> tuple[bool, bool]:
        each = Controlled("T", cell(0.5), cell(*lift), higher)
        return each.is_below, each.is_worse

    assert beside(True, -0.2, -0.3, -0.1) == (True, True)
    assert beside(True, -0.2, -0.3, 0.1) == (True, False)
    assert beside(True, 0.2, 0.1, 0.3) == (False, False)
    assert beside(False, 0.2, 0.1, 0.3) == (True, True)
    assert beside(False, 0.2, -0.1, 0.3) == (True, False)
    assert beside(False, -0.2, -0.3, -0.1) == (False, False)
    assert beside(True, -1e-12, -0.1, 0.1) == (False, False)  # rounding is no loss
    assert beside(True, None) == (False, False)


class Rumours(Pitfall[Row]):
    """A kind of somebody's own with a score that has controls."""

    name = "rumours"
    question = "Is a rumour believed?"
    topic = Topic("rumours", "Rumours")
    row = Row
    facts: ClassVar = MappingProxyType({"old": FactWords("edit 1"), "replaced": FactWords("true")})
    written, replaced = "old", "replaced"
    metrics = (
        *edit_success("old", "replaced"),
        *score_with_controls("heard", "Heard", "rumour", "old", definition="d", source="s", question="q"),
    )
    thresholds = ("heard >= 1",)
    columns = ("es", "heard")

    def program(self, case: Case, row: Any) -> Program:
        raise NotImplementedError


@pytest.fixture
def rumours() -> Iterator[None]:
    PITFALLS.add(Rumours(), origin="the test")
    yield
    PITFALLS.forget_added()


@pytest.mark.usefixtures("rumours")
def test_a_kind_of_ones_own_has_them_everywhere() -> None:
    run = results(3, suites=["reverse"], editors=["rome"], label="passed")
    run.run.suites[0].kind = "rumours"
    known = run.aggregates[0].metrics
    run.aggregates[0].metrics = {
        "es": known["es"],
        "heard": cell(0.2),
        "heard_0": cell(0.7),
        "heard_2": cell(0.3),
        "heard_lift": cell(-0.5, -0.7, -0.2),
    }
    told = "worse than doing nothing: Heard of reverse 20.0 (no edit 70.0)"
    assert told in terminal(run, 200)
    assert "-50.0 [-70.0, -20.0]" in render_markdown(run)
    assert "▼ worse than doing nothing" in render_html(run)
    assert r"\quad lift & 100" not in latex_tables([NamedRun("a", run)])
    assert r"{\scriptsize $-$50.0$^{\ddagger}$}" in latex_tables([NamedRun("a", run)])
