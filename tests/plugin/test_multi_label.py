"""``--editor=NAME+mle``: one label everywhere, one editor in the engine, other programs for round edits alone."""

from __future__ import annotations

import pytest
from plugin_helpers import case_ids

from pytest_editpitfalls.suites import load_suite

E1 = ("--pitfalls-suite=easy", "--pitfalls-limit=1")


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
def test_the_label_stays_and_the_engine_gets_the_name(project, workers):
    (case,) = case_ids("easy", 1)
    options = ("--editor=memit", "--editor=memit+mle", "--pitfalls-set=memit.v_lr=0.1", *E1)
    document = project.results(*options, *workers)
    assert [(case["editor"], case["id"]) for case in document["cases"]] == [
        ("rome", case),
        ("memit", case),
        ("memit+mle", case),
    ]
    assert [editor["name"] for editor in document["run"]["editors"]].count("memit+mle") == 1
    assert "memit+mle" in {aggregate["editor"] for aggregate in document["aggregates"]}
    runs = [call for call in project.calls("run") if call["run"] == "memit"]
    true_objects = next(each for each in load_suite("easy").cases if each.id == case).row.true_objects
    assert sorted(call["requests"][case] for call in runs) == [[1, 1], [1, len(true_objects)]]
    assert {call["run"] for call in project.calls("run")} == {"rome", "memit"}
    assert project.calls("open")[0]["overrides"] == {"memit": {"v_lr": "0.1"}}


def test_node_ids_and_the_rerun_command(project):
    (case,) = case_ids("easy", 1)
    project.engine(lose=[case])
    node = f"pitfalls/easy.py::test_easy[memit+mle-smollm2-135m-{case}]"
    result = project.run("--editor=memit+mle", *E1, editor=False)
    result.assert_outcomes(failed=1)
    targets = " + ".join(next(each for each in load_suite("easy").cases if each.id == case).row.true_objects)
    text = str(result.stdout)
    assert f"-> {targets}" in text
    assert f"  pytest '{node}' --editor=memit+mle" in text
    project.run(node, "--editor=memit+mle", editor=False).assert_outcomes(failed=1)
    project.run("--editor=memit+mle", "-k", "memit+mle", *E1, editor=False).assert_outcomes(failed=1)


def test_the_header_says_what_an_editor_does_with_several_targets(project):
    result = project.run("--editor=rome+mle", "--editor=ft+mle", "--editor=memit+mle", *E1, editor=False)
    result.stdout.fnmatch_lines(
        [
            "pitfalls: rome+mle: rome writes the true objects one after another, in file order; the last one wins",
            "pitfalls: ft+mle: ft averages the losses of the true objects",
        ]
    )
    result.stdout.no_fnmatch_line("pitfalls: memit+mle: *")
    result.stdout.no_fnmatch_line("*changes round edits only*")


def test_conflict_cases_run_as_without_it(project):
    result = project.run("--editor=memit+mle", "--pitfalls-suite=reverse", *E1, editor=False)
    result.assert_outcomes(passed=2)
    line = "pitfalls: Multi-Label Edit (+mle) changes round edits only; reverse: as without it"
    assert result.outlines.count(line) == 1
    requests = {case: steps for call in project.calls("run") for case, steps in call["requests"].items()}
    assert requests[case_ids("reverse", 1)[0]] == [1, 1]


def test_the_edited_model_is_the_label_s(project):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('easy')\ndef test_own(pitfall_case, edited_model):\n"
        "    with edited_model() as model:\n        assert model.steps == [1, len(pitfall_case.row.true_objects)]\n"
    )
    project.run("test_own.py", "--editor=memit+mle", "--pitfalls-limit=1", editor=False).assert_outcomes(passed=1)


def test_published_figures_stand_beside_it(project, shared_data):
    file = shared_data / "GPT2-XL" / "easy.json"
    options = (f"--pitfalls-suite={file}", "--editor=memit+mle", "--pitfalls-limit=1")
    result = project.run(*options, "--model=gpt2-xl", editor=False)
    result.stdout.fnmatch_lines(["*(gpt2-xl) *83.6*3.0*4.7*1.7*"])
    assert "D rel." in result.stdout.str()
    elsewhere = project.run(*options, "--pitfalls-fresh", editor=False)
    assert "(gpt2-xl)" not in elsewhere.stdout.str(), "figures of another model are no comparison"
