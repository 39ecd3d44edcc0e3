"""Intervals without an end, and whole ones, in every report: what is missing is never taken for nothing."""

from __future__ import annotations

import re

import pytest
from report_samples import results

from pytest_editpitfalls.reports.html import render_html
from pytest_editpitfalls.reports.html.charts import Axis, forest
from pytest_editpitfalls.reports.html.words import bound_interval, mean_interval
from pytest_editpitfalls.reports.markdown import render_markdown
from pytest_editpitfalls.reports.view.kinds import figure_interval
from pytest_editpitfalls.reports.view.verdicts import gate_line
from pytest_editpitfalls.reports.view.words import ends
from pytest_editpitfalls.results.records import MetricAggregate


def test_a_missing_end_is_infinitely_far_out() -> None:
    assert ends(0.25, 0.5) == "[0.25, 0.5]"
    assert ends(None, 0.5) == "[-inf, 0.5]"
    assert ends(0.25, None) == "[0.25, inf]"
    assert ends(None, None) == ""
    assert figure_interval("cs_exp", MetricAggregate(value=0.1, low=None, high=0.5, n=4)) == "[-inf, 50.0]"
    assert bound_interval(None, -0.5) == "[−inf, −0.5]"
    assert mean_interval(MetricAggregate(value=0.1, low=None, high=-0.5, n=4), "cs_exp") == "[−inf, −50.0]"


def test_a_missing_end_is_drawn_to_the_edge_without_a_cap() -> None:
    def lines(low: float | None, high: float | None) -> list[tuple[str, str]]:
        drawing = forest(Axis(-5.0, 1.0), 0.1, low, high)
        return re.findall(r'class="ci" x1="([\d.]+)%" x2="([\d.]+)%"', drawing)

    assert len(lines(-1.0, 0.5)) == 3
    line, cap = lines(None, 0.5)
    assert line == ("2.00", cap[0])
    assert lines(None, None) == []


def test_reports_show_open_intervals() -> None:
    run = results(6, suites=("composite",), gates=("composite.tfd <= 0.1",))
    cell = run.aggregates[0].metrics["tfd"]
    assert cell.low is None
    assert cell.high is not None
    assert "-inf, " in render_markdown(run)
    assert "−inf, " in render_html(run)
    (gate,) = [gate for gate in run.gates if gate.editor == "rome"]
    assert f"[-inf, {cell.high:.4g}]" in gate_line(gate)


def test_plots_draw_no_whisker_of_an_open_interval() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from pytest_editpitfalls.reports.plots.drawing import dots

    assert matplotlib
    axes = Figure().subplots()
    cells = [
        MetricAggregate(value=0.5, low=None, high=0.75, n=4),
        MetricAggregate(value=0.5, low=0.25, high=0.75, n=4),
    ]
    dots(axes, 0, 1, list(enumerate(cells)))
    (bars,) = [container.lines[2][0] for container in axes.containers]
    lengths = [abs(segment[1][1] - segment[0][1]) for segment in bars.get_segments()]
    assert lengths == [0.0, 50.0]
