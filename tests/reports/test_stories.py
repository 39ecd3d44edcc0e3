"""What broke, in words: every fact that was asked as a sentence, in the record and in every report."""

from __future__ import annotations

import dataclasses
import json
import re
from io import StringIO

import pytest
from report_samples import HOSTILE, results
from rich.console import Console

from pytest_editpitfalls.cases.digests import program_digest
from pytest_editpitfalls.metrics.metric import FactProbabilities
from pytest_editpitfalls.pitfalls import PITFALLS, compile_case
from pytest_editpitfalls.probes import Probe
from pytest_editpitfalls.program import CaseScores, ProbeScore
from pytest_editpitfalls.reports.markdown import inert, render_markdown
from pytest_editpitfalls.reports.terminal import body
from pytest_editpitfalls.reports.view.facts import fact_lines, fewer
from pytest_editpitfalls.reports.view.run import RunView
from pytest_editpitfalls.results import CaseRecord, RunResults
from pytest_editpitfalls.results.build import case_record, facts_in_words
from pytest_editpitfalls.results.records import FactRecord, ProbeRecord
from pytest_editpitfalls.suites import load_suites
from pytest_editpitfalls.suites.discovery import shipped_suites
from pytest_editpitfalls.suites.suite import Suite

SHIPPED = load_suites(shipped_suites())


@pytest.mark.parametrize("suite", SHIPPED, ids=lambda suite: suite.name)
@pytest.mark.parametrize("editor", ["rome", "memit+mle"])
def test_every_fact_that_was_asked_is_in_the_record_in_words(suite: Suite, editor: str) -> None:
    for case in suite.cases[:20]:
        program = compile_case(case, editor.endswith("+mle"))
        probes = tuple(
            ProbeScore(each.fact, each.state, (0.5,) * len(each.inputs), measure=each.measure)
            for each in program.probes
        )
        record = case_record(case, CaseScores(case.id, probes), editor=editor, model="m", outcome="failed")
        assert list(record.facts) == list(dict.fromkeys(probe.fact for probe in record.probes))
        for probe in program.probes:
            fact = record.facts[probe.fact]
            if isinstance(probe, Probe):
                worded = [each for each in case.relations if fact.relation in (each.id, each.variant_of)]
                assert fact.sentence == f"{probe.prompts[0]}{probe.joiner}{probe.target}"
                assert (fact.object, fact.label) == (probe.target, worded[0].label)
                # a prompt that is denied or stands behind a context is shown as it was asked
                assert fact.prompt in {probe.prompts[0], *(each.questions(fact.subject)[0] for each in worded)}
            assert fact.role, f"{suite.kind} does not say what its fact '{probe.fact}' is"
        assert CaseRecord.model_validate_json(record.model_dump_json()) == record


def test_a_case_without_scores_has_no_facts() -> None:
    """Its program may be what failed."""
    case = SHIPPED[0].cases[0]
    record = case_record(case, CaseScores(case.id, error="broken"), editor="rome", model="m", outcome="error")
    assert record.facts == {}


def test_words_are_no_part_of_what_is_run() -> None:
    """A stored case is found by its program's digest: who is called what changes nothing of it."""
    program = compile_case(SHIPPED[0].cases[0])
    silent = tuple(dataclasses.replace(probe, subject="", relation="") for probe in program.probes)
    assert any(probe.subject for probe in program.probes)
    other = dataclasses.replace(program, probes=silent)
    assert (other, program_digest(other)) == (program, program_digest(program))
    asked = dataclasses.replace(program.probes[0], target="else")
    assert program_digest(dataclasses.replace(program, probes=(asked,))) != program_digest(program)


# -- many facts


def borders(n: int) -> tuple[FactProbabilities, dict[str, FactRecord]]:
    """Neighbours of Zimbabwe: the later ones lose more, every fourth gains."""
    prompts: dict[tuple[str, str], tuple[float, ...]] = {}
    facts = {}
    for place in range(n):
        name = f"other:{place}"
        prompts[name, "0"] = (0.2,)
        prompts[name, "12"] = (0.3 if place % 4 == 0 else 0.2 - place / 1000,)
        facts[name] = FactRecord(object=f"land {place}", prompt="A neighbour of Zimbabwe is ", role="a true object")
    return FactProbabilities(prompts), facts


def test_of_many_facts_those_that_lost_most_are_shown() -> None:
    lines = fact_lines(*borders(100), None)
    assert len(lines) == 100
    shown, remarks = fewer(lines, 3)
    assert [line.name for line in shown] == ["other:99", "other:98", "other:97"]
    assert shown[0].text == "A neighbour of Zimbabwe is land 99"
    assert shown[0].numbers("12") == "0.2 -> 0.101"
    assert remarks == ["and 97 more (a true object): 72 of them less likely than before"]
    assert fewer(lines[:4], 3) == (lines[:4], [])  # one more line would say no more


def test_a_story_of_a_hundred_true_objects_is_short() -> None:
    run = results(1, suites=["easy"], editors=["rome"])
    (case,) = run.cases
    means, case.facts = borders(100)
    case.probes = [ProbeRecord(fact=fact, state=state, probabilities=[value]) for (fact, state), value in means.items()]
    lines = RunView(run).story(case)[1]
    assert len(lines) == len(case.edits) + 4
    assert "A neighbour of Zimbabwe is land 99: 0.2 -> 0.101 (a true object)" in lines
    assert "and 97 more (a true object): 72 of them less likely than before" in lines


# -- in the reports


def on_a_terminal(run: RunResults, width: int) -> str:
    console = Console(file=StringIO(), width=width)
    for each in body(RunView(run), width=width):
        console.print(each, highlight=False)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def failed_run(hostile: str = "") -> RunResults:
    run = results(2, suites=["composite"], editors=["rome"], label="failed", hostile=hostile)
    run.cases[0].facts["tied"] = FactRecord(
        object=f"Zimbabwe{hostile}", prompt=f"Zambia{hostile} borders", role="tied fact"
    )
    for probe in run.cases[0].probes:
        if probe.fact == "tied":
            probe.probabilities = {"0": [0.0141], "1": [0.01], "12": [0.00048], "2": [0.5]}[probe.state]
    return run


def test_the_worst_cases_are_told_in_words_everywhere() -> None:
    told = "Zambia borders Zimbabwe: 0.0141 -> 0.01 -> 0.00048 (tied fact)"
    run = failed_run()
    assert told in on_a_terminal(run, 120)
    assert inert(told) in render_markdown(run)
    narrow = on_a_terminal(run, 40)
    at = narrow.splitlines().index("    Zambia borders Zimbabwe: 0.0141 ->")
    assert narrow.splitlines()[at + 1].startswith("    0.01")  # what is wrapped stays below its headline
    assert max(map(len, narrow.splitlines())) <= 40
    assert json.loads(run.model_dump_json())["cases"][0]["facts"]["tied"]["prompt"] == "Zambia borders"


def test_hostile_facts_are_shown_and_not_obeyed() -> None:
    run = failed_run(HOSTILE)
    shown = on_a_terminal(run, 100_000)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "Zambiaa|b `c` **d** _e_" in shown
    text = render_markdown(run)
    assert "Zambia" in text
    assert "<script>" not in text


def test_a_result_of_an_older_version_is_told_by_the_names_of_its_facts() -> None:
    run = failed_run()
    document = json.loads(run.model_dump_json())
    for case in document["cases"]:
        del case["facts"]
    old = RunResults.model_validate_json(json.dumps(document))
    assert "tied: 0.0141 -> 0.01 -> 0.00048 (tied fact: it should survive both edits)" in on_a_terminal(old, 200)


def test_every_kind_that_ships_says_what_each_of_its_facts_is() -> None:
    for pitfall in PITFALLS.shipped.values():
        asked = {name for suite in SHIPPED if suite.kind == pitfall.name for name in facts_in_words(suite.cases[0])}
        assert all(pitfall.words_of(name) for name in asked)


def test_a_report_tells_whole_stories_and_says_how_many() -> None:
    run = results(12, suites=["composite"], editors=["rome"], label="failed")
    for case in run.cases:
        for name, fact in case.facts.items():
            fact.prompt, fact.object = f"{name} {'ä' * 150}", "ö" * 60
    text = render_markdown(run)
    told = re.search(
        r"<summary>The worst (\d+) of 12 cases that missed a threshold</summary>\n\n(.*?)\n</details>", text, re.S
    )
    assert told is not None
    stories = told[2].split("\n- ")
    assert 1 < len(stories) == int(told[1]) < 10
    assert all("\n  - tied ä" in story for story in stories)  # the last fact of each
