"""Properties of editors in the reports that people read."""

from __future__ import annotations

import html
import json
import re

import pytest
from property_samples import EDITS, ONCE_MORE, REPLAY, WHY, property_results
from report_samples import HOSTILE, results
from test_latex import check
from test_markdown import OWN_TAGS, PARSER, html_of, links_and_marks

from pytest_editpitfalls.cli.app import main
from pytest_editpitfalls.reports.github import add_step_summary, gate_annotations
from pytest_editpitfalls.reports.html import render_html
from pytest_editpitfalls.reports.latex import latex_tables
from pytest_editpitfalls.reports.markdown import render_markdown
from pytest_editpitfalls.reports.view.properties import property_tables
from pytest_editpitfalls.results.named import NamedRun

RUN = property_results()


def shown(text: str) -> str:
    """What a reader of the report sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).replace("\u200b", "").split())


def test_a_line_for_each_editor_says_what_it_has() -> None:
    assert [table.line for table in property_tables(RUN.properties)] == [
        "properties of sticky:sticky on tiny: holds: commute; violated, as declared: idempotent; FAILED: isolated; "
        "not looked at: declared_weights",
        "properties of rome on tiny: holds: idempotent; ERROR: commute; "
        "declared as violated, and not seen here: idempotent",
    ]


def test_markdown_shows_what_holds_the_counter_example_and_its_replay() -> None:
    text = render_markdown(RUN)
    assert text.splitlines()[0] == "❌ **Pitfalls of knowledge edits: failed** - 2 of 6 properties failed"
    words = shown(PARSER.render(text))
    assert "Properties of sticky:sticky on tiny" in words
    assert "isolated the state of one case never reaches another ❌ FAILED 3" in words
    assert "idempotent the same edit twice is the same edit ⚠️ violated, as declared 3" in words
    assert "declared: it takes one more step" in words
    assert "the editor does not say which" in words
    for line in (*EDITS, WHY, ONCE_MORE):
        assert words.count(line) == 1
    (fence,) = (token for token in PARSER.parse(text) if token.type == "fence" and "isolated" in token.content)
    assert fence.content == f"{REPLAY}\n"  # to be copied as it is


def test_markdown_of_a_run_whose_properties_hold_passes() -> None:
    held = RUN.model_copy(
        update={"properties": RUN.properties[:2], "run": RUN.run.model_copy(update={"exit_status": 0})}
    )
    first = render_markdown(held).splitlines()[0]
    assert first == "✅ **Pitfalls of knowledge edits: passed** - 0 of 2 properties failed"


def test_html_shows_what_holds_the_counter_example_and_its_replay() -> None:
    page = render_html(RUN)
    words = shown(page)
    assert "sticky:sticky, rome on tiny" in words
    assert "isolated the state of one case never reaches another FAILED 3" in words
    assert "idempotent the same edit twice is the same edit holds (declared as violated, and not seen here) 3" in words
    assert "Declared: it takes one more step" in words
    for line in (*EDITS, WHY, ONCE_MORE, REPLAY):
        assert words.count(line) == 1
    opened = re.findall(r'<details class="counter" (open|)><summary><code>(\w+)</code>', page)
    assert opened == [
        ("", "idempotent"),
        ("open", "isolated"),
        ("", "declared_weights"),
        ("open", "commute"),
        ("", "idempotent"),
    ]


def test_latex_has_a_table_for_each_model() -> None:
    run = NamedRun("a", RUN)
    (table,) = latex_tables([run]).split("\n\n")
    check(table)
    lines = [line.removesuffix(r" \\").split(" & ") for line in table.splitlines() if line.endswith(r"\\")]
    assert lines == [
        ["Property", "Says", "sticky:sticky", "rome"],
        ["commute", "edits of unrelated subjects commute", "holds", "ERROR"],
        ["idempotent", "the same edit twice is the same edit", "violated, as declared", r"holds$^{\dagger}$"],
        ["isolated", "the state of one case never reaches another", "FAILED", "--"],
        [r"declared\_weights", "nothing outside changes", "not looked at", "--"],
    ]
    assert "Properties of editors on tiny." in table
    assert r"$^{\dagger}$ declared as violated, and not seen here." in table

    twice = latex_tables([run, NamedRun("b", RUN)])
    check(twice)
    assert "& sticky:sticky & rome & sticky:sticky (b) & rome (b)" in twice

    figures = NamedRun("c", results())
    assert latex_tables([figures, run]) == latex_tables([figures]) + "\n" + table.partition("\n")[2]
    for text in HOSTILE:
        hostile = [each.model_copy(update={"editor": text, "property": text}) for each in RUN.properties]
        check(latex_tables([NamedRun("h", RUN.model_copy(update={"properties": hostile}))]))


def test_a_plot_says_that_it_does_not_show_them(tmp_path, capsys) -> None:
    both = results().model_copy(update={"properties": RUN.properties})
    for name, run in (("p", RUN), ("both", both), ("figures", results())):
        (tmp_path / f"{name}.json").write_text(run.model_dump_json())

    def said(*words: str) -> str:
        with pytest.raises(SystemExit):
            main(words)
        return " ".join("".join(capsys.readouterr()).split())

    plot = ("--out", str(tmp_path / "x.svg"), "--plot=metrics")
    assert "nothing to draw: properties of editors" in said("plot", str(tmp_path / "p.json"), *plot)
    assert "not drawn: properties of editors" in said("plot", str(tmp_path / "both.json"), *plot)
    assert "properties" not in said("plot", str(tmp_path / "figures.json"), *plot)
    for command in ("report", "table"):
        assert "properties of rome on tiny: holds: idempotent" in said(command, str(tmp_path / "p.json"))
    assert "Property & Says" in said("table", "--latex", str(tmp_path / "p.json"))


def test_hostile_words_stay_words() -> None:
    for text in HOSTILE:
        run = property_results(edits=[text], why=text, declared=text)
        markdown = render_markdown(run)
        assert html_of(markdown) <= OWN_TAGS
        assert links_and_marks(markdown) == []
        if len(text) > 5 and "<" in text:
            assert text not in render_html(run)


def test_a_run_without_properties_has_no_section() -> None:
    run = RUN.model_copy(update={"properties": []})
    assert 'id="properties"' not in render_html(run)
    assert "properties" not in render_markdown(run).split("command")[0]


def test_github_shows_failed_properties(tmp_path) -> None:
    first, second = gate_annotations(RUN, {"GITHUB_ACTIONS": "true"})
    assert first.startswith("::error title=Property failed%3A isolated::sticky:sticky on tiny: edit 1")
    assert second == "::error title=Property failed%3A commute::rome on tiny: out of memory"
    summary = tmp_path / "summary.md"
    assert add_step_summary(RUN, {"GITHUB_STEP_SUMMARY": str(summary)}) is None
    assert "2 of 6 properties failed" in summary.read_text("utf-8")


def test_the_result_file_has_them() -> None:
    kept = json.loads(RUN.model_dump_json())["properties"][2]
    assert (kept["edits"], kept["says"], kept["replay"]) == (EDITS, RUN.properties[2].says, REPLAY)
