"""The report of a pull request."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt
from report_samples import HOSTILE, results

from pytest_editpitfalls.reports.markdown import LONGEST, inert, render_markdown
from pytest_editpitfalls.results import RunResults
from pytest_editpitfalls.results.comparison_records import CaseKeyRecord, ComparisonRecord, RelativeGateRecord

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OWN_TAGS = {"<details>", "</details>", "<summary>", "</summary>"}


def html_of(text: str) -> set[str]:
    """HTML that a renderer would pass on."""
    found: set[str] = set()
    for token in PARSER.parse(text):
        for each in [token, *(token.children or [])]:
            if each.type in {"html_block", "html_inline"}:
                found |= set(re.findall(r"</?[a-zA-Z][^>]*>", each.content))
    return found


def links_and_marks(text: str) -> list[str]:
    return [
        each.type
        for token in PARSER.parse(text)
        for each in token.children or []
        if each.type in {"link_open", "em_open", "s_open", "code_inline", "image"}
    ]


def test_the_verdict_comes_first() -> None:
    first = render_markdown(results(4, gates=["reverse.cm >= 0.99"])).splitlines()[0]
    assert first.startswith("❌ **Pitfalls of knowledge edits: failed** - 2 of 2 gates failed, ")
    gated = results(4, suites=["coverage"], gates=["coverage.cs_exp >= 0"], label="xfailed")
    assert render_markdown(gated).splitlines()[0].startswith("✅ **Pitfalls of knowledge edits: passed** - 0 of 2")
    open_ = results(4, suites=["coverage", "reverse"], label="passed")
    open_.gates = results(4, suites=["reverse"], gates=["reverse.cs_exp >= 0"]).gates
    for gate in open_.gates:
        gate.passed, gate.reason = None, "nobody asked"
    text = render_markdown(open_)
    assert text.startswith("⚠️ **Pitfalls of knowledge edits: not decided** - 0 of 2 gates failed, 2 not decided")
    assert "nobody asked" in text
    open_.run.exit_status = 2
    assert render_markdown(open_).startswith("❌")
    assert render_markdown(RunResults(run=open_.run)).startswith("❌")


def test_metrics_stand_in_tables_with_intervals() -> None:
    run = results(8, suites=["reverse", "easy"], seed=2)
    text = render_markdown(run)
    cell = run.aggregates[0].metrics["cs_exp"]
    assert None not in (cell.value, cell.low, cell.high)
    value, low, high = (f"{100 * (each or 0.0):.1f}" for each in (cell.value, cell.low, cell.high))
    assert f"{value} [{low}, {high}]" in text
    rows = [line for line in text.splitlines() if line.startswith("| reverse | rome | gpt2-xl |")]
    headings = next(line for line in text.splitlines() if line.startswith("| suite | editor"))
    assert len(rows) == 1
    assert rows[0].count("|") == headings.count("|")
    tables = [token for token in PARSER.parse(text) if token.type == "table_open"]
    assert len(tables) == 3  # conflict, distortion, the run


def test_hostile_labels_are_text() -> None:
    run = results(
        3,
        suites=["reverse"],
        editors=[HOSTILE],
        models=[f"-m{HOSTILE}"],
        gates=["reverse.cm >= 0.99"],
        hostile=HOSTILE,
    )
    text = render_markdown(run)
    assert html_of(text) == OWN_TAGS
    assert links_and_marks(text) == []
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "@octocat" not in text
    assert "&#64;&#8203;octocat" in text
    assert not re.search(r"#1\b", text.replace("&#1", ""))
    headings = [line for line in text.splitlines() if line.startswith("| suite")]
    body = [line for line in text.splitlines() if line.startswith("| reverse |")]
    assert headings[0].count("|") == body[0].count("|")  # no cell is split
    (gate,) = [line for line in text.splitlines() if line.startswith("| reverse.cm ")]
    assert gate.count("|") == 8


@pytest.mark.parametrize("text", ["- x", "+ x", "1. x", "12) x", "# x", "> x", "| x", "www.example.org", "[a]: b"])
def test_data_at_the_beginning_of_a_line_are_no_block(text: str) -> None:
    tokens = PARSER.parse(inert(text))
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    shown = "".join(child.content for child in tokens[1].children or [])
    assert shown.replace("\u200b", "") == text


@pytest.mark.parametrize("char", ["é", "@", "\U0001f600"])
def test_a_large_report_is_bounded(char: str) -> None:
    editors = [f"{place}{char * 200}" for place in range(12)]
    run = results(20, suites=["reverse", "easy"], editors=editors, gates=["reverse.cm >= 0.99"] * 6, hostile=char * 300)
    text = render_markdown(run)
    assert len(text.encode()) <= LONGEST
    assert text.startswith("❌")
    assert "72 of 72 gates failed" in text
    assert "| gate | editor |" in text
    assert re.search(r"(?m)^and [0-9]+ more$", text)
    short = render_markdown(run, at_most=15_000)
    assert len(short.encode()) <= 15_000
    assert "left out: the report would be too long" in short
    assert html_of(short) <= OWN_TAGS


def test_a_baseline_and_its_gates_are_shown() -> None:
    run = results(4, suites=["reverse"], editors=["rome"])
    ids = [case.id for case in run.cases]
    run.relative_gates = [
        RelativeGateRecord(
            gate="reverse.cs_exp:2pp", suite="reverse", editor="rome", model="gpt2-xl", metric="cs_exp",
            verdict="inconclusive", passed=None, reason="too few cases", margin=0.02, base=0.7, now=0.65, drop=0.05,
            upper=0.09, p=0.2, p_holm=0.2, n=4, clusters=2, worse=3, better=1,
        )
    ]  # fmt: skip
    keys = [CaseKeyRecord(suite="reverse", editor="rome", model="gpt2-xl", id=each) for each in ids]
    run.comparison = ComparisonRecord(
        base="ma|in", paired=4, known=1, unchanged=1, errors=0, lost=0, gained=0, new=0, deselected=3,
        new_failures=keys[:1], fixed=keys[1:2],
    )  # fmt: skip
    text = render_markdown(run)
    assert "Against **ma&#124;in**: 4 cases on both sides, 1 known pitfalls, 1 new failures, 1 fixed" in text
    assert "<summary>New failures: 1</summary>" in text
    assert "<summary>Fixed: 1</summary>" in text
    assert "inconclusive | 0.7 | 0.65 | 0.05 | 0.09 | 3 / 1 | none | too few cases |" in text
    assert "1 new failure, 1 fixed" in text.splitlines()[0]
