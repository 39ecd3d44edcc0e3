"""The view that all reports render: what is unknown, which columns there are, kinds that are not installed or own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
from report_samples import results
from rich.console import Console

from pytest_editpitfalls.escaping import visible
from pytest_editpitfalls.pitfalls import (
    PITFALLS,
    Case,
    FactWords,
    Metric,
    Pitfall,
    PlotByFacts,
    Program,
    Row,
    Topic,
    edit_success,
    wins,
)
from pytest_editpitfalls.reports.github import add_step_summary
from pytest_editpitfalls.reports.html import render_html
from pytest_editpitfalls.reports.junit import run_properties
from pytest_editpitfalls.reports.latex import latex_tables
from pytest_editpitfalls.reports.markdown import render_markdown
from pytest_editpitfalls.reports.terminal import body, short_summary
from pytest_editpitfalls.reports.view.cases import fact_means
from pytest_editpitfalls.reports.view.facts import ordered_states
from pytest_editpitfalls.reports.view.kinds import figure
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.named import NamedRun
from pytest_editpitfalls.results.records import ProbeRecord


def published_run() -> RunResults:
    run = results(4, suites=["composite", "easy"], editors=["rome", "mine"])
    for suite in run.run.suites:
        suite.format = "published"
    return run


def terminal(run: RunResults, width: int = 400) -> str:
    console = Console(file=StringIO(), width=width)
    for each in body(RunView(run), width=width):
        console.print(each, highlight=False)
    return console.file.getvalue()


def test_the_plain_title_is_the_papers_definition_and_the_released_form_stands_beside_published_figures() -> None:
    own, published = results(4, suites=["composite", "easy"], editors=["rome"]), published_run()
    for run, beside in ((own, False), (published, True)):
        conflict, distortion = RunView(run).tables
        for table, plain, released in (
            (conflict, ("tfd", "TFD"), ("tfd_released", "TFD rel.")),
            (distortion, ("distortion", "D"), ("distortion_released", "D rel.")),
        ):
            columns = list(table.columns.items())
            assert plain in columns
            assert (released in columns) is beside
        texts = {
            "terminal": terminal(run),
            "short": "\n".join(short_summary(RunView(run))),
            "markdown": render_markdown(run),
            "html": re.sub(r"(?s)<script.*", "", render_html(run)),
        }
        for name, text in texts.items():
            assert ("TFD rel." in text, "D rel." in text) == (beside, beside), name
    value = own.aggregates[0].metrics["tfd"].value
    assert value is not None
    assert f"TFD {100 * value:.1f}" in "\n".join(short_summary(RunView(own)))
    assert "69.5" in terminal(published)  # what the paper has for ROME, in the column of its definition
    assert "published by Li et al., ICLR 2024" in terminal(published)


def test_published_figures_are_found_by_the_source_of_a_model_too() -> None:
    run = published_run()
    for aggregate in run.aggregates:
        aggregate.model = "mine"
    run.run.models[0].name, run.run.models[0].source = "mine", "openai-community/gpt2-xl"
    assert [row.published for row in RunView(run).tables[0].rows] == [False, True, False]
    run.run.models[0].source = "openai-community/gpt2"
    assert not any(row.published for row in RunView(run).tables[0].rows)


def test_a_mean_is_unknown_when_one_of_its_prompts_is() -> None:
    case = results(1, suites=["reverse"], editors=["rome"]).cases[0]
    case.probes = [
        ProbeRecord(fact="old", state="1", probabilities=[0.5, None]),
        ProbeRecord(fact="old", state="12", probabilities=[0.5, 0.25]),
    ]
    assert fact_means(case) == {("old", "12"): 0.375}
    headline, lines = RunView(RunResults(run=results(1).run)).story(case)
    assert headline.startswith("reverse P")
    assert "The capital of subject 0 is old object: after both 0.375 (role of old)" in lines


def test_a_story_goes_from_the_first_state_to_the_last() -> None:
    run = results(1, suites=["composite"], editors=["rome"])
    (case,) = run.cases
    case.probes = [probe for probe in case.probes if (probe.fact, probe.state) != ("old", "0")]
    means = fact_means(case)
    lines = RunView(run).story(case)[1]
    way = " -> ".join(f"{means['tied', state]:.3g}" for state in ("0", "1", "12"))
    assert f"The capital of subject 0 is tied object: {way} (role of tied)" in lines  # not edit 2 alone
    later = f"after edit 1 {means['old', '1']:.3g} -> after both {means['old', '12']:.3g}"
    assert f"The capital of subject 0 is old object: {later} (role of old)" in lines  # nothing of it before
    assert not [line for line in lines if "replaced" in line]  # it says whether edit 1 took, which has its own line
    assert ordered_states(["own", "2", "12", "0"]) == ["0", "12", "2", "own"]


# -- kinds of others

HEARSAY = Topic("hearsay", "Hearsay & rumour")
SAYS = Metric(
    name="believes",
    title="Believes it",
    higher_is_better=True,
    low=0.0,
    high=1.0,
    definition="p(rumour) > p(old)",
    source="nowhere",
    compute=wins(("rumour", "heard"), ("old", "1")),
    question="Is it believed?",
    is_binary=True,
)


class Hearsay(Pitfall[Row]):
    """A kind with a topic, facts, a state and a metric of its own."""

    name = "hearsay"
    question = "Is a rumour believed?"
    topic = HEARSAY
    row = Row
    facts: ClassVar = MappingProxyType(
        {
            "old": FactWords("what edit 1 writes", "edit 1"),
            "replaced": FactWords("what it replaces", in_story=False),
            "rumour": FactWords("what was heard", "rumour"),
        }
    )
    written, replaced = "old", "replaced"
    metrics = (*edit_success("old", "replaced"), SAYS)
    thresholds = ("believes >= 1",)
    columns = ("es", "believes")
    plots_by_group = ("believes",)
    plots_by_facts = PlotByFacts(("believes",), ("old", "rumour"), "things heard")

    def program(self, case: Case, row: Any) -> Program:
        raise NotImplementedError


def hearsay_run() -> RunResults:
    run = results(3, suites=["reverse", "easy"], editors=["rome"])
    run.run.suites[0].kind = "hearsay"
    for case in run.cases:
        if case.suite == "reverse":
            case.metrics = {"es": 1.0, "ps": 0.5, "believes": 1.0}
            case.probes = [
                ProbeRecord(fact=fact, state=state, probabilities=[0.5, 0.25])
                for fact, state in (("old", "1"), ("old", "heard"), ("replaced", "1"), ("rumour", "heard"))
            ]
            case.facts, case.outcome = {}, "failed"  # as an older file has it
            for threshold in case.thresholds:
                threshold.metric, threshold.threshold = "believes", "believes >= 1"
                threshold.value, threshold.passed, threshold.missed_by = -8.0, False, 9.0
    aggregate = run.aggregates[0]
    aggregate.metrics = {"es": aggregate.metrics["es"], "believes": aggregate.metrics["cs_exp"]}
    return run


@pytest.fixture(params=[True, False], ids=["installed", "not installed"])
def installed(request: pytest.FixtureRequest) -> Iterator[bool]:
    if request.param:
        PITFALLS.add(Hearsay(), origin="the test")
    yield request.param
    PITFALLS.forget_added()


def test_every_report_knows_a_kind_that_somebody_brings_or_has_brought(installed: bool, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from pytest_editpitfalls.reports.plots.of_runs import write_plots
    from pytest_editpitfalls.reports.released_layout import export_released

    run = hearsay_run()
    title, column = ("Hearsay & rumour", "Believes it") if installed else ("hearsay", "believes")
    tables = {table.topic.title: table for table in RunView(run).tables}
    assert set(tables) == {title, "Knowledge distortion"}
    assert list(tables[title].columns.values()) == (["ES", column] if installed else ["es", column])
    shown = terminal(run)
    assert f"{title} (%), rome on gpt2-xl" in shown
    assert ("old: after edit 1 0.375 -> heard 0.375 (what edit 1 writes)" in shown) is installed
    assert ("rumour: heard 0.375 (what was heard)" in shown) is installed
    assert ("replaced: after edit 1 0.375" in shown) is not installed
    assert column in shown
    assert column in "\n".join(short_summary(RunView(run)))
    assert title.replace("&", "&#38;") in render_markdown(run)
    page = render_html(run)
    assert "heard" in page
    assert column in page
    assert ("what was heard" in page) is installed
    assert ("Is it believed?" in page) is installed
    latex = latex_tables([NamedRun("a", run)])
    assert (r"Believes it $\uparrow$" if installed else "believes") in latex
    assert title.replace("&", r"\&") in latex
    assert any(name.startswith("pitfalls.mean.reverse.rome") for name, _ in run_properties(run))
    assert add_step_summary(run, {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}) is None
    names = [path.stem for path in write_plots([NamedRun("a", run)], tmp_path / "plots", "svg")]
    assert names == ["metrics", "shifts", "distortion", *(["hearsay", "rules"] if installed else [])]
    exported = export_released(run, tmp_path / "released")
    assert [path.name for path in exported.files] == ["ROME_easy.json", "easy_model.json"]
    assert visible("reverse: the script does not know this kind of pitfall; left out") in exported.remarks


def test_kinds_of_a_topic_that_measure_nothing_alike_have_a_table_each() -> None:
    """One table would be wide and mostly empty; those that share a column stand together, as the paper's three do."""
    run = results(3, suites=["reverse", "composite", "easy", "hard"], editors=["rome"])
    for place, (kind, column) in {2: ("locality", "ns"), 3: ("superficial", "op")}.items():
        run.run.suites[place].kind = kind
        cells = run.aggregates[place].metrics
        run.aggregates[place].metrics = {"es": cells["es"], "ps": cells["ps"], column: cells["succ"]}
    tables = {table.title: list(table.columns) for table in RunView(run).tables}
    assert list(tables) == [
        "Knowledge conflict",
        "What an edit spreads to: locality",
        "What an edit spreads to: superficial",
    ]
    assert tables["What an edit spreads to: locality"] == ["es", "ps", "ns"]
    assert tables["What an edit spreads to: superficial"] == ["es", "ps", "op"]
    latex = latex_tables([NamedRun("a", run)])
    for title in tables:
        assert f"{title} (%), rome on gpt2-xl" in terminal(run)
        assert f"**{title.replace(':', '&#58;')}**" in render_markdown(run)
        assert rf"\caption{{{title} (\%)" in latex
    assert latex.count(r"\begin{table") == 3


def test_what_is_no_share_is_written_as_it_is() -> None:
    assert figure("cs_exp", 0.5) == "50.0"
    assert figure("cm", -1.25) == "-125.0"
    assert figure("perplexity_ratio", 1.234) == "1.23"
    assert figure("drift", 2.629) == "2.63"
    assert figure("trips_survived", 4.0) == "4"
    assert figure("perplexity_ratio", None) == "-"
    assert figure("of somebody's own kind", 0.25) == "25.0"
