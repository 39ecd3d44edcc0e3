"""The paper's tables as LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from property_samples import property_results
from report_samples import HOSTILE, results

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.pitfalls import METRICS, pitfall_of
from pytest_editpitfalls.reports.latex import escaped, label, latex_tables
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import AggregateRecord, MetricAggregate
from pytest_editpitfalls.results.run_records import RunRecord, SuiteRecord

ALLOWED = {
    "caption",
    "label",
    "small",
    "setlength",
    "tabcolsep",
    "belowcaptionskip",
    "resizebox",
    "ifdim",
    "width",
    "linewidth",
    "else",
    "fi",
    "begin",
    "end",
    "toprule",
    "midrule",
    "bottomrule",
    "multicolumn",
    "cmidrule",
    "textbf",
    "textit",
    "textsubscript",
    "centering",
    "uparrow",
    "downarrow",
    "dagger",
    "ddagger",
    "quad",
    "scriptsize",
    "textbackslash",
    "textless",
    "textgreater",
    "textbar",
    "textquotedbl",
    "textasciitilde",
    "textasciicircum",
    "textasciigrave",
    "textquotesingle",
}

COLUMNS = {
    "coverage": ("succ", "cs_exp", "cm"),
    "reverse": ("cs_exp", "cs_imp", "cm"),
    "composite": ("cs_exp", "cs_imp", "cm", "tfd"),
    "easy": ("succ", "distortion", "ir", "fr"),
    "hard": ("succ", "distortion", "ir", "fr"),
}
"""Those of the paper's two tables, in its order."""


def check(text: str) -> None:
    """What a LaTeX would trip over: braces, environments, cells, commands, bare special characters."""
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    plain = re.sub(r"\\[{}$&#%_\\]", "", body)
    depth = 0
    for char in plain:
        depth += {"{": 1, "}": -1}.get(char, 0)
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    assert not re.search(r"[#%~^]", re.sub(r"\$[^$]*\$", "", plain))
    assert set(re.findall(r"\\([a-zA-Z]+)", plain)) <= ALLOWED
    assert set(
        re.findall(r"\\begin\{(\S+?)\}\S*\n.*?\\begin\{(\S+?)\}.*?\\end\{(\S+?)\}.*?\\end\{(\S+?)\}", body, re.S)
    ) <= {(table, "tabular", "tabular", table) for table in ("table", "table*")}
    tables = re.findall(r"\\begin\{(table\*?)\}", body)
    assert body.count(r"\begin{") == body.count(r"\end{") == 2 * len(tables)
    labels = re.findall(r"\\label\{([^}]*)\}", body)
    assert len(labels) == len(tables) == len(set(labels))
    assert all(re.fullmatch(r"tab:[a-z0-9-]+", label) for label in labels)
    for tabular in re.findall(r"\\begin\{tabular\}\{(l[lr]*)\}(.*?)\\end\{tabular\}", body, re.S):
        columns = len(tabular[0])
        for line in tabular[1].splitlines():
            if line.endswith(r"\\"):
                spans = sum(int(number) - 1 for number in re.findall(r"\\multicolumn\{(\d+)\}", line))
                cells = re.sub(r"\\&", "", line).count("&") + 1 + spans
                assert cells == columns, line


def rows_of(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name = line.split(" & ")[0]
        if line.startswith(("rome", "memit")):
            found.setdefault(name, []).extend(line.removesuffix(r" \\").split(" & ")[1:])
    return found


def value(run: RunResults, suite: str, editor: str, metric: str) -> float:
    (found,) = [each for each in run.aggregates if (each.suite, each.editor) == (suite, editor)]
    mean = found.metrics[metric].value
    assert mean is not None
    return mean


def test_both_tables_and_the_best_in_bold() -> None:
    run = results(12)
    text = latex_tables([NamedRun("a", run)])
    check(text)
    rows = rows_of(text)
    columns = [(suite, metric) for suite, metrics in COLUMNS.items() for metric in metrics]
    for place, (suite, metric) in enumerate(columns):
        values = {editor: value(run, suite, editor, metric) for editor in ("rome", "memit")}
        pick = max if METRICS.get(metric).higher_is_better else min
        printed = {editor: f"{100 * mean:.2f}".replace("-", "$-$") for editor, mean in values.items()}
        best = f"{100 * pick(values.values()):.2f}".replace("-", "$-$") if len({*printed.values()}) > 1 else None
        for editor, shown in printed.items():
            assert rows[editor][place] == (rf"\textbf{{{shown}}}" if shown == best else shown), (
                suite,
                metric,
            )


def test_a_page_is_wide_enough_for_every_table() -> None:
    """Suites whose columns would be too many for one table have several."""
    kinds = {"lifelong": "lifelong", "collapse": "collapse"}
    cells = {
        suite: {name: MetricAggregate(value=-0.5, low=-0.6, high=-0.4, n=3) for name in pitfall_of(kind).columns}
        for suite, kind in kinds.items()
    }
    run = RunResults(
        run=RunRecord(
            suites=[
                SuiteRecord(name=suite, kind=kind, format="own", source="s", digest="d", total=3, selected=3)
                for suite, kind in kinds.items()
            ]
        ),
        aggregates=[
            AggregateRecord(suite=suite, editor="rome", model="m", n=3, metrics=each) for suite, each in cells.items()
        ],
    )
    text = latex_tables([NamedRun("a", run)])
    check(text)
    assert re.findall(r"\\caption\{([^(]*) \(", text) == [
        "What is left after many edits: lifelong",
        "What is left after many edits: collapse",
    ]
    assert r"$-$50.00" in text  # no hyphen


@pytest.mark.skipif(
    shutil.which("pdflatex") is None, reason="no pdflatex (Debian: apt-get install texlive-latex-recommended)"
)
def test_every_sort_of_table_compiles_in_two_columns(tmp_path: Path) -> None:
    runs = {
        "plain": results(6),
        "hostile": results(3, editors=[HOSTILE[:60], "<&>"], models=["gpt2-xl", "C:\\x_y^~#$%{}|"], hostile=HOSTILE),
        "properties": property_results(),
    }
    tables = [latex_tables([NamedRun(name, run)]) for name, run in runs.items()]
    head = "\n".join(line.replace(", ", "\n").removeprefix("% needs ") for line in tables[0].splitlines()[:1])
    body = "\n".join(tables)
    text = f"\\documentclass[twocolumn]{{article}}\n{head}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    (tmp_path / "tables.tex").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "tables.tex"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").read_bytes().startswith(b"%PDF")
    assert "Overfull \\hbox" not in done.stdout  # no table is wider than its place
    assert "Missing character" not in done.stdout


def test_a_tie_of_all_editors_has_no_best() -> None:
    """Bold says who is ahead; where two of three are, both are."""
    run = results(4, suites=["easy"], editors=("rome", "memit", "ft"))
    for aggregate in run.aggregates:
        aggregate.metrics["succ"].value = 1.0
        aggregate.metrics["distortion"].value = 0.2 if aggregate.editor == "ft" else 0.1
    rows = dict(re.findall(r"(?m)^(rome|memit|ft) & (\S+ & \S+) &", latex_tables([NamedRun("a", run)])))
    assert rows == {"rome": r"100.00 & \textbf{10.00}", "memit": r"100.00 & \textbf{10.00}", "ft": "100.00 & 20.00"}


def test_a_wide_table_takes_both_columns_of_a_page_and_is_never_wider() -> None:
    text = latex_tables([NamedRun("a", results(4))])
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:knowledge-conflict", "tab:knowledge-distortion"]
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 2
    narrow = latex_tables([NamedRun("a", results(4, suites=["coverage"]))])
    check(narrow)
    assert r"\begin{table}" in narrow
    for each in (text, narrow):
        for tabular in re.findall(r"(?m)^(.*)\\begin\{tabular\}", each):
            assert tabular == r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
        assert each.count(r"\end{tabular}}") == each.count(r"\begin{tabular}")
    assert r"\usepackage{graphicx}" in text.partition("\n")[0]


def test_a_title_without_plain_letters_still_has_a_label() -> None:
    taken: set[str] = set()
    made = [label(title, taken) for title in ("Knowledge conflict", "知識", "}{", "Knowledge conflict")]
    assert made == ["knowledge-conflict", "pitfalls", "pitfalls-2", "knowledge-conflict-2"]


def test_the_interval_of_a_lift_has_a_line_of_its_own() -> None:
    """Beside its figure it would make every column twice as wide."""
    lines = latex_tables([NamedRun("a", results(4, editors=("rome",)))]).splitlines()
    lifts = [place for place, line in enumerate(lines) if line.startswith(r"\quad lift")]
    assert lifts
    for place in lifts:
        assert "[" not in lines[place]
        assert re.search(r"^ &.*\{\\scriptsize \[(\+|\$-\$)\d+\.\d, (\+|\$-\$)\d+\.\d\]\}", lines[place + 1])


def test_headings_are_the_titles_of_the_metrics() -> None:
    run = results(3)
    headings = re.findall(r"(?m)^Editor & (.*) \\\\$", latex_tables([NamedRun("a", run)]))
    titles = [re.sub(r" \$.*?\$", "", title) for line in headings for title in line.split(" & ")]
    exp, imp = (rf"CS\textsubscript{{{index}}}" for index in ("exp", "imp"))
    conflict = ["Succ", exp, "CM", exp, imp, "CM", exp, imp, "CM", "TFD"]
    assert titles == conflict + 2 * ["Succ", "D", "IR", "FR"]
    assert not any("rel." in line for line in headings)
    for suite in run.run.suites:
        suite.format = "published"
    text = latex_tables([NamedRun("a", run)])
    check(text)
    assert r"& TFD $\downarrow$ & TFD rel. $\downarrow$ \\" in text
    assert text.count(r"D $\downarrow$ & D rel. $\downarrow$") == 2
    shown = f"{100 * value(run, 'easy', 'rome', 'distortion_released'):.2f}"
    assert shown in text


def test_an_editor_alone_has_no_best_and_one_that_hardly_edits_is_marked() -> None:
    assert r"\textbf" not in latex_tables([NamedRun("a", results(4, editors=("rome",)))])
    run = results(4, suites=["easy"])
    for aggregate in run.aggregates:
        aggregate.reliable = aggregate.editor != "memit"
    text = latex_tables([NamedRun("a", run)])
    check(text)
    assert r"memit$^{\dagger}$ &" in text
    assert r"\textbf" not in text
    assert "hardly edits" in text


def test_several_runs_of_one_editor_get_lines_of_their_own() -> None:
    first, second = results(4, editors=("rome",)), results(4, editors=("rome",), seed=1)
    text = latex_tables([NamedRun("a", first), NamedRun("b_2", second)])
    check(text)
    assert "rome (b\\_2, reverse)" in text


def test_hostile_labels_are_text() -> None:
    run = results(3, editors=(HOSTILE, "\\input{/etc/passwd}"), models=("m}\\end{tabular}",))
    text = latex_tables([NamedRun(HOSTILE, run), NamedRun("b", run)])
    check(text)
    assert "\\input" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("char", [*"\\{}$&#%_^~<>|\"`'", "--", "---"])
def test_every_special_character_is_spelled(char: str) -> None:
    assert escaped(char) != char
    assert escaped(f"a{char}b").startswith("a")


def test_a_run_without_cases_is_refused() -> None:
    with pytest.raises(UsageError, match="a: no case ran: there are no figures"):
        latex_tables([NamedRun("a", RunResults(run=results(1).run))])
