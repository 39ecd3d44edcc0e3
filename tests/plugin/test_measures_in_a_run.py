"""What is no probability in a run: verdicts, explanations, the document, the store, gates."""

from __future__ import annotations

import html
import json

import pytest
from plugin_helpers import STORED

PARAPHRASES = [f"Question {number}: the capital of {{}} is" for number in range(10)]
HEADER = """format = 1
name = "{0}"
kind = "{0}"
license = "MIT"
provenance = "made up"
relations = "relations.toml"
cases = "{0}.jsonl"
default = false
"""
SUITES = ("--pitfalls-suite=said.toml", "--pitfalls-suite=collapse.toml")


@pytest.fixture(autouse=True)
def suites(project):
    """A suite of each kind: three countries get another capital."""
    (project.path / "relations.toml").write_text(
        f'[P36]\nlabel = "capital"\nprompt = "The capital of {{}} is"\nparaphrases = {PARAPHRASES}\n', "utf-8"
    )
    for kind in ("said", "collapse"):
        (project.path / f"{kind}.toml").write_text(HEADER.format(kind), "utf-8")
        edits = [
            {"relation": "P36", "subject": subject, "object": "Paris", "new_object": "Rome"}
            for subject in ("France", "Gaul", "Brittany")
        ]
        lines = [{"id": f"P36-{number}", "rule": "P36", "edits": [edit]} for number, edit in enumerate(edits)]
        (project.path / f"{kind}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


@pytest.fixture
def broken(project):
    """An editor after which the model finds the new object likelier, says the old one, and loses its English."""
    values = {("new", "1"): 0.8, ("true", "1"): 0.1}
    project.engine(
        f"fake_engine.GOOD.update({values!r})",
        says={("said", "1"): "Paris, of course.\x1b[31m", ("said_only", "1"): "Paris", ("said", "0"): "Paris"},
        measured={("text", "0"): 20.0, ("text", "1"): 90.0, ("drift", "1"): 1.5},
    )
    return project


def test_a_failing_case_says_what_was_said_and_measured(broken):
    result = broken.run(*SUITES)
    result.assert_outcomes(failed=6)
    result.stdout.fnmatch_lines(
        [
            "said >= 0.5: failed, said = 0, missed by 0.5",
            "mean over the prompts, a probability where nothing else is said:",
            "*0%*0%*The capital of France is Rome (what it says, held against the new object, *share of the prompts)",
            "*before it says: Paris",
            "*after edit 1 it says: Paris, of course.\\x1b[[]31m",
            "perplexity_ratio <= 1.1: failed, perplexity_ratio = 4.5, missed by 3.4",
            "*20*90*When the bread had risen for an hour,*... (plain texts, *perplexity)",
            "*1.5*nats from the base model)",
        ]
    )


def test_the_document_and_the_store_keep_what_was_said(broken):
    document = broken.results(STORED, *SUITES)
    by_suite = {case["suite"]: case for case in document["cases"]}
    texts = {(p["fact"], p["state"]): p["texts"] for p in by_suite["said"]["probes"] if p["measure"] == "said"}
    assert texts["said", "0"] == ["Paris"] * 11
    measures = {probe["fact"]: probe["measure"] for probe in by_suite["collapse"]["probes"]}
    assert measures == {"new": "probability", "true": "probability", "text": "perplexity", "drift": "divergence"}
    assert by_suite["collapse"]["facts"]["text"]["object"] == ""
    metrics = {(a["suite"], name): m["value"] for a in document["aggregates"] for name, m in a["metrics"].items()}
    assert metrics["said", "gap"] == 1.0
    assert metrics["collapse", "perplexity_ratio"] == pytest.approx(4.5)
    again = broken.results("--pitfalls-replay", *SUITES)
    assert [case["cached"] for case in again["cases"]] == [True] * 6
    assert [case["probes"] for case in again["cases"]] == [case["probes"] for case in document["cases"]]


def test_gates_hold_perplexities_against_bounds(broken):
    gate = "--pitfalls-gate=collapse.perplexity_ratio <= 1.1"
    failed = broken.run("--pitfalls-suite=collapse.toml", gate)
    assert failed.ret == pytest.ExitCode.TESTS_FAILED
    failed.stdout.fnmatch_lines(["gate collapse.perplexity_ratio <= 1.1 (*): FAILED, perplexity_ratio = 4.5 *"])
    passed = broken.run("--pitfalls-suite=collapse.toml", "--pitfalls-gate=collapse.perplexity_ratio <= 5")
    passed.stdout.fnmatch_lines(["gate collapse.perplexity_ratio <= 5 (*): passed, perplexity_ratio = 4.5 *"])


def test_what_is_said_rightly_passes(project):
    values = {("new", "1"): 0.8, ("true", "1"): 0.1}
    project.engine(f"fake_engine.GOOD.update({values!r})", says={("said", "0"): "Paris"})
    project.run(*SUITES).assert_outcomes(passed=6)


def test_reports_show_them(broken):
    broken.run(*SUITES, "--pitfalls-markdown=out.md", "--pitfalls-html=out.html")
    page = html.unescape((broken.path / "out.md").read_text("utf-8"))
    assert "said: 0% -> 0% of the prompts" in page
    assert "after edit 1 it says: Paris, of course." in page
    assert "perplexity 20 -> 90" in page
    assert "perplexity 20 -\\u003e 90" in (broken.path / "out.html").read_text("utf-8")
