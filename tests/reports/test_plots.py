"""Figures: written for real, in every format; what is in them is read back from the SVG."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from report_samples import HOSTILE, results

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import AggregateRecord, MetricAggregate
from pytest_editpitfalls.results.run_records import RunRecord, SuiteRecord

SIGNATURES = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
NAMES = ["metrics", "shifts", "distortion", "rules"]


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pytest_editpitfalls.reports.plots.of_runs import write_plots

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pytest-editpitfalls\[plots\]"):
        write_plots([NamedRun("a", results(2))], tmp_path)


@pytest.fixture
def plots() -> object:
    pytest.importorskip("matplotlib")
    from pytest_editpitfalls.reports.plots.of_runs import write_plots

    return write_plots


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_directory_gets_a_file_for_each_plot(plots, tmp_path: Path, kind: str) -> None:  # type: ignore[no-untyped-def]
    run = NamedRun("a", results(5, suites=["reverse", "easy"]))
    files = plots([run], tmp_path / "new" / "out", kind)
    assert [path.name for path in files] == [f"{name}.{kind}" for name in NAMES]
    for path in files:
        assert path.read_bytes().startswith(SIGNATURES[kind])
    again = plots([run], tmp_path / "again", kind)
    assert [path.read_bytes() for path in files] == [path.read_bytes() for path in again]


def test_a_pdf_has_a_page_for_each_plot_and_other_files_one_plot(plots, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = NamedRun("a", results(3, suites=["reverse", "easy"], editors=["rome"]))
    (pages,) = plots([run], tmp_path / "all.pdf")
    assert pages.read_bytes().count(b"/Type /Page ") == 4
    with pytest.raises(UsageError, match="can hold one plot, and there are 4"):
        plots([run], tmp_path / "all.png")
    (one,) = plots([run], tmp_path / "one.svg", only=["rules"])
    assert one.name == "one.svg"


def test_plots_without_figures_are_left_out(plots, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = NamedRun("a", results(3, suites=["easy"], editors=["rome"]))
    assert [path.stem for path in plots([run], tmp_path)] == ["metrics", "shifts", "distortion"]
    with pytest.raises(UsageError, match="no figures for rules"):
        plots([run], tmp_path, only=["rules"])


def test_the_figures_show_the_values(plots) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.container import ErrorbarContainer

    from pytest_editpitfalls.reports.plots.of_runs import Runs
    from pytest_editpitfalls.reports.plots.of_runs import plots as drawn_by

    runs = [NamedRun("a", results(8, suites=["easy"], editors=["rome"]))]
    draw = drawn_by()
    figure = draw["metrics"](Runs(runs))
    assert figure is not None
    shared, alone = figure.axes
    cells = runs[0].results.aggregates[0].metrics
    for axes, names in ((shared, ["es", "ps", "succ", "ir", "fr"]), (alone, ["distortion"])):
        (bars,) = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
        assert bars[0].get_ydata() == pytest.approx([100 * (cells[name].value or 0.0) for name in names])
    assert shared.get_title() == "easy, n = 8"
    assert [text.get_text() for text in shared.get_xticklabels()] == ["ES ↑", "PS ↑", "Succ ↑", "IR ↓", "FR ↓"]
    assert [text.get_text() for text in alone.get_xticklabels()] == ["D ↓"]  # its range ends at ln 2
    assert alone.get_ylim()[1] < shared.get_ylim()[1]
    figure = draw["distortion"](Runs(runs))
    assert figure is not None
    (bars,) = figure.axes[0].containers
    assert list(bars[0].get_xdata()) == [2, 3, 4, 5]  # true objects: the other ones and o1
    assert figure.axes[0].get_ylabel() == "D ↓, %"
    assert figure.axes[0].get_title() == "easy, n = 8"
    of_two = [case.metrics["distortion"] or 0.0 for case in runs[0].results.cases if case.source_index % 4 == 0]
    assert bars[0].get_ydata()[0] == pytest.approx(100 * sum(of_two) / len(of_two))


def test_rules_stand_in_words_with_their_cases(plots) -> None:  # type: ignore[no-untyped-def]
    from pytest_editpitfalls.reports.plots.of_runs import Runs
    from pytest_editpitfalls.reports.plots.of_runs import plots as drawn_by

    run = results(6, suites=["reverse"], editors=["rome", "memit"])
    for case in run.cases:
        case.rule = "P36>P1376" if case.source_index % 3 else "1-N@P37"
        for place, fact in enumerate(case.facts.values()):
            relations = ("P36", "capital"), ("P1376", "capital of"), ("P37", "official language")
            fact.relation, fact.label = relations[place % 3]
    figure = drawn_by()["rules"](Runs([NamedRun("a", run)]))
    assert figure is not None
    axes = figure.axes[0]
    assert axes.get_title() == "reverse: CS exp ↑"
    told = [" ".join(text.get_text().split()) for text in axes.get_yticklabels()]
    assert told == ["capital → capital of n = 4", "official language (1-N) n = 2"]


def test_what_is_no_share_and_what_is_counted_has_its_own_scale(plots) -> None:  # type: ignore[no-untyped-def]
    from matplotlib.container import ErrorbarContainer

    from pytest_editpitfalls.reports.plots.of_runs import Runs
    from pytest_editpitfalls.reports.plots.of_runs import plots as drawn_by

    means = {"es": 0.5, "trips_survived": 2.5, "trips_distortion_8": 0.2}
    cells = {name: MetricAggregate(value=mean, low=mean, high=mean, n=3) for name, mean in means.items()}
    run = RunResults(
        run=RunRecord(
            suites=[
                SuiteRecord(name="trips", kind="round_trips", format="own", source="t", digest="d", total=3, selected=3)
            ]
        ),
        aggregates=[AggregateRecord(suite="trips", editor="rome", model="m", n=3, metrics=cells)],
    )
    runs = Runs([NamedRun("a", run)])
    runs.series = {"rome": []}
    figure = drawn_by()["metrics"](runs)
    assert figure is not None
    drawn = {}
    for axes in figure.axes:
        (bars,) = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
        names = [text.get_text() for text in axes.get_xticklabels()]
        drawn |= dict(zip(names, zip(bars[0].get_ydata(), [axes.get_ylabel()] * len(names), strict=True), strict=True))
    assert drawn["trips ↑"] == (2.5, "")
    assert drawn["ES ↑"] == (50.0, "%")
    trips = next(axes for axes in figure.axes if axes.get_xticklabels()[0].get_text() == "trips ↑")
    assert all(float(tick).is_integer() for tick in trips.get_yticks())


def test_hostile_labels_and_many_editors(plots, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = results(3, suites=["reverse"], editors=[HOSTILE, "_hidden", "$", *map(str, range(4))], hostile=HOSTILE)
    files = plots([NamedRun("a", run), NamedRun("_b", run)], tmp_path, "svg")
    assert [path.stem for path in files] == ["metrics", "shifts", "rules"]


@pytest.mark.parametrize(
    ("out", "kind", "only", "words"),
    [
        ("out", "gif", (), "unknown format 'gif'"),
        ("out", None, ("metric",), "did you mean 'metrics'"),
        ("file/out", None, (), "cannot write"),
    ],
)
def test_bad_input(plots, tmp_path: Path, out: str, kind: str | None, only: tuple[str, ...], words: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=words):
        plots([NamedRun("a", results(2))], tmp_path / out, kind, only)
