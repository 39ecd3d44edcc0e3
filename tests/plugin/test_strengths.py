"""Cases that are contradictions and cases that are expectations: one suite, figures of each beside the whole."""

from __future__ import annotations

import json

from plugin_helpers import case_ids, write_small


def suite_with_defaults(project, count: int, defaults: list[str]) -> str:
    """A small reverse suite in which these cases are expectations; returns its option."""
    option = write_small(project.path, "reverse", count)
    path = project.path / "suites" / "reverse.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(row | {"strength": "default" if row["id"] in defaults else "strict"}) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return option


def test_both_have_figures_of_their_own(project):
    ids = case_ids("reverse", 5)
    project.engine(lose=ids[:2])
    option = suite_with_defaults(project, 5, ids[:3])
    page, text = project.path / "report.html", project.path / "report.md"
    document = project.results("--editor=rome", option, f"--pitfalls-html={page}", f"--pitfalls-markdown={text}")
    assert [case["strength"] for case in document["cases"] if case["id"] in ids[:3]] == ["default"] * 3
    (whole,) = document["aggregates"]
    assert (whole["strength"], whole["n"]) == (None, 5)
    parts = {each["strength"]: each for each in document["by_strength"]}
    assert [(name, each["n"]) for name, each in parts.items()] == [("strict", 2), ("default", 3)]
    assert parts["strict"]["metrics"]["cs_exp"]["value"] == 1.0
    assert round(parts["default"]["metrics"]["cs_exp"]["value"], 6) == round(1 / 3, 6)
    shown = project.last.outlines
    for words in ("strict", "default"):
        assert any(words in line for line in shown), words
        assert words in page.read_text(encoding="utf-8")
    markdown = text.read_text(encoding="utf-8").splitlines()
    (strict,) = [line for line in markdown if line.startswith("| strict |")]
    (default,) = [line for line in markdown if line.startswith("| default ")]
    assert "| 2 |" in strict
    assert "| 3 |" in default


def test_a_suite_of_one_sort_has_no_such_rows(project):
    project.engine()
    document = project.results("--editor=rome", "--pitfalls-suite=coverage", "--pitfalls-limit=3")
    assert document["by_strength"] == []
    assert not any(line.strip().startswith(("strict", "default")) for line in project.last.outlines)


def test_what_is_said_of_a_suite_is_said_once(project):
    """A suite whose figures say little is named in one line, not once more for each part."""
    ids = case_ids("reverse", 4)
    project.engine(untaken=ids)
    option = suite_with_defaults(project, 4, ids[:2])
    project.results("--editor=rome", option)
    lines = [line for line in project.last.outlines if "rome on" in line and "!" in line[:3]]
    assert len(lines) <= 1
