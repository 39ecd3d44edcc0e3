"""Figures: written for real, in every format; what is in them is read back from the SVG."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from report_samples import HOSTILE, results

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.results.named import NamedRun

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
    (axes,) = [each for each in figure.axes if each.get_visible()]
    (bars,) = [each for each in axes.containers if isinstance(each, ErrorbarContainer)]
    cells = runs[0].results.aggregates[0].metrics
    names = ["es", "ps", "succ", "distortion", "ir", "fr"]
    assert bars[0].get_ydata() == pytest.approx([100 * (cells[name].value or 0.0) for name in names])
    figure = draw["distortion"](Runs(runs))
    assert figure is not None
    (bars,) = figure.axes[0].containers
    assert list(bars[0].get_xdata()) == [2, 3, 4, 5]  # true objects: the other ones and o1
    assert figure.axes[0].get_ylabel() == "D, %"
    of_two = [case.metrics["distortion"] or 0.0 for case in runs[0].results.cases if case.source_index % 4 == 0]
    assert bars[0].get_ydata()[0] == pytest.approx(100 * sum(of_two) / len(of_two))


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
