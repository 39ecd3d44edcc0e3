"""``--pitfalls-seeds``: an editor under several seeds, from the command line to the records."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING

import pytest
from plugin_helpers import STORED

if TYPE_CHECKING:
    from conftest import Project

REVERSE = ("--pitfalls-suite=reverse", "--pitfalls-limit=2")


def test_each_seed_has_items_records_and_batches_of_its_own(project: Project) -> None:
    found = project.results(*REVERSE, "--pitfalls-seeds=3", "--pitfalls-seed=7")

    project.last.assert_outcomes(passed=6)
    assert len(project.calls("open")) == 1  # the model is there once
    assert [call["seed"] for call in project.calls("run")] == [7, 8, 9]
    assert {(case["editor"], case["seed"]) for case in found["cases"]} == {(f"rome+seed{n}", n) for n in (7, 8, 9)}
    assert [(each["name"], each["seed"]) for each in found["run"]["editors"]] == [
        (f"rome+seed{n}", n) for n in (7, 8, 9)
    ]
    assert (found["run"]["seed"], found["run"]["seeds"]) == (7, 3)
    project.last.stdout.fnmatch_lines(
        ["pitfalls: rome on *", "pitfalls: rome under 3 seeds (7 to 9): every case runs 3 times; 6 items of 2 cases"]
    )


def test_a_seed_runs_through_all_suites_before_the_next(project: Project) -> None:
    project.run("--pitfalls-suite=conflict", "--pitfalls-limit=1", "--pitfalls-seeds=2")

    # the first case of a run is waited for; then batches are filled with cases of other suites, under one seed
    assert [(call["seed"], len(call["ids"])) for call in project.calls("run")] == [(0, 1), (0, 2), (1, 3)]


def test_items_that_are_shuffled_are_sorted_by_seed_again(project: Project) -> None:
    project.engine(
        "import pytest\n@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_collection_modifyitems(items):\n    items.reverse()\n"
    )
    project.run("--pitfalls-suite=conflict", "--pitfalls-limit=1", "--pitfalls-seeds=2")

    # the first case of a run is waited for; then batches are filled with cases of other suites, under one seed
    assert [(call["seed"], len(call["ids"])) for call in project.calls("run")] == [(0, 1), (0, 2), (1, 3)]


def test_one_seed_is_as_without_the_option(project: Project) -> None:
    assert project.ids(*REVERSE, "--pitfalls-seeds=1") == project.ids(*REVERSE)


def test_the_suffix_combines_with_multi_label_edit(project: Project) -> None:
    found = project.ids("--pitfalls-suite=easy", "--pitfalls-limit=1", "--editor=memit+mle", "--pitfalls-seeds=2")

    assert [node.partition("[")[2].partition("-smol")[0] for node in found] == [
        "rome+seed0",
        "memit+mle+seed0",
        "rome+seed1",
        "memit+mle+seed1",
    ]


def test_an_editor_that_draws_nothing_runs_once(project: Project) -> None:
    result = project.run(*REVERSE, "--editor=ft-l", "--pitfalls-seeds=3")

    result.assert_outcomes(passed=2 * 3 + 2)
    result.stdout.fnmatch_lines(
        ["pitfalls: ft-l draws nothing at random, so that it runs once: every seed gives the same"]
    )


def test_a_failing_case_is_rerun_under_its_seed(project: Project) -> None:
    project.engine(lose_under={8: ["rev-borders-0"]})
    first = next(node for node in project.ids(*REVERSE) if "::" in node).rpartition("-smollm2-135m-")[2].rstrip("]")
    project.engine(lose_under={8: [first]})
    result = project.run(*REVERSE, "--pitfalls-seeds=3", "--pitfalls-seed=7")
    result.assert_outcomes(passed=5, failed=1)
    command = next(line for line in result.outlines if "pytest pitfalls/reverse.py" in line.replace("'", ""))
    assert "--editor=rome+seed8" in command
    assert "--pitfalls-seed" not in command.replace("--editor=rome+seed8", "")

    node = next(word for word in command.replace("'", "").split() if "::" in word)
    again = project.run(node, "--editor=rome+seed8", "--pitfalls-fresh", editor=False)
    again.assert_outcomes(failed=1)


def test_seeds_are_found_in_the_store_whatever_asked_for_them(project: Project) -> None:
    """A run under one seed by --pitfalls-seed and by its label are one to the store, and a replay takes both."""
    project.run(*REVERSE, "--pitfalls-seeds=2", STORED)
    computed = len(project.calls("run"))

    project.run(*REVERSE, "--pitfalls-seed=1", STORED)
    project.run(*REVERSE, "--editor=rome+seed0", "--editor=rome+seed1", STORED, editor=False)
    assert len(project.calls("run")) == computed

    replayed = project.run(*REVERSE, "--pitfalls-seeds=2", "--pitfalls-replay")
    replayed.assert_outcomes(passed=4)
    one = project.results(*REVERSE, "--pitfalls-seed=1", "--pitfalls-replay")
    assert {case["seed"] for case in one["cases"]} == {1}
    assert one["run"]["seed"] == 1


def test_workers_share_the_seeds(project: Project) -> None:
    found = project.results(*REVERSE, "--pitfalls-seeds=2", "-n2")

    project.last.assert_outcomes(passed=4)
    assert [(case["editor"], case["seed"]) for case in found["cases"]] == [
        ("rome+seed0", 0),
        ("rome+seed0", 0),
        ("rome+seed1", 1),
        ("rome+seed1", 1),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pitfalls-seeds=0"], "--pitfalls-seeds: 0 is less than 1*--pitfalls-seeds="),
        (["--pitfalls-seeds=-2"], "--pitfalls-seeds: -2 is less than 1*"),
        (["--pitfalls-seeds=few"], "--pitfalls-seeds: 'few' is not a whole number*"),
        (["--pitfalls-seeds=2.5"], "--pitfalls-seeds: '2.5' is not a whole number*"),
        (["--pitfalls-seeds="], "--pitfalls-seeds: the value is empty*"),
        (["--pitfalls-seeds=100000"], "--pitfalls-seeds: 100000 is more than 1000*"),
        (["--pitfalls-seeds=2", f"--pitfalls-seed={2**32 - 1}"], "*2 seeds from 4294967295 on go beyond*"),
        (["--editor=rome+seed"], "--pitfalls-editor: unknown suffix '+seed' of editor 'rome'*'rome+seed1'*"),
        (["--editor=rome+seed01"], "--pitfalls-editor: unknown suffix '+seed01'*'rome+seed1'*"),
        (["--editor=memit+seed1+mle"], "--pitfalls-editor: '+seed1' is not at the end*'memit+mle+seed1'*"),
        (["--editor=rome+seed1+seed2"], "--pitfalls-editor: '+seed1' is not at the end*'rome+seed1'*"),
        (["--editor=rome+seed4294967296"], "--pitfalls-editor: the seed of 'rome+seed4294967296' is above*"),
        (["--pitfalls-set=rome+seed1.v_lr=1"], "--pitfalls-set: 'rome+seed1' has no hyper-parameters of its own*"),
    ],
)
def test_wrong_seeds_stop_before_anything_runs(project: Project, options: list[str], message: str) -> None:
    result = project.run(*REVERSE, *options)

    assert result.ret == 4
    shown = " ".join([*result.errlines, *result.outlines])
    assert fnmatch(shown, f"*{message}*"), shown
    assert project.calls("open") == []


def test_a_label_with_a_seed_beside_typed_seeds(project: Project) -> None:
    alone = project.run(*REVERSE, "--editor=rome+seed1", "--pitfalls-seeds=2", editor=False)
    assert alone.ret == 4
    alone.stderr.fnmatch_lines(["*--pitfalls-seeds: every editor names its seed already"])

    ini = project.run(*REVERSE, "--editor=rome+seed1", "-o", "pitfalls_seeds=2", editor=False)
    ini.assert_outcomes(passed=2)  # a rerun in a project whose ini asks for several

    both = project.run(*REVERSE, "--editor=rome+seed1", "--collect-only", "-q")
    assert sum("rome+seed0-" in line for line in both.outlines) == 2  # the plain label is left for both together
    assert sum("rome+seed1-" in line for line in both.outlines) == 2


def test_all_seeds_have_one_figure_with_their_variance_in_it(project: Project) -> None:
    ids = [case["id"] for case in project.results(*REVERSE)["cases"]]
    single = project.results(*REVERSE)["aggregates"][0]["metrics"]["cs_exp"]
    project.engine(lose_under={1: ids})  # one of three seeds loses all cases
    found = project.results(*REVERSE, "--pitfalls-seeds=3")

    (together,) = found["aggregates"]
    assert (together["editor"], together["seeds"], together["n"], together["identical"]) == (
        "rome",
        [0, 1, 2],
        2,
        False,
    )
    cell = together["metrics"]["cs_exp"]
    assert cell["value"] == pytest.approx(2 / 3)
    assert cell["seed_sd"] == pytest.approx(3**-0.5)
    assert (cell["low"], cell["high"]) == (0.0, 1.0)  # three seeds that differ so much say nothing
    assert single["low"] > 0.0
    assert [(each["editor"], each["metrics"]["cs_exp"]["value"]) for each in found["by_seed"]] == [
        ("rome+seed0", 1.0),
        ("rome+seed1", 0.0),
        ("rome+seed2", 1.0),
    ]
    lines = project.last.outlines
    (spread,) = [line for line in lines if "standard deviation of their means" in line]
    assert "reverse, rome on smollm2-135m: 3 seeds (0 to 2)" in spread
    assert "CS exp 57.7" in spread
    row = next(line for line in lines if line.lstrip().startswith("reverse   "))
    assert " 2/2 " in row  # held facts are counted once


def test_seeds_that_change_nothing_are_said_to_change_nothing(project: Project) -> None:
    found = project.results(*REVERSE, "--pitfalls-seeds=2")

    assert found["aggregates"][0]["identical"] is True
    project.last.stdout.fnmatch_lines(["*2 seeds (0, 1) give the same: nothing that it draws reaches these figures"])


def test_a_gate_judges_all_seeds_together(project: Project) -> None:
    suite = project.whole("reverse", 3)
    ids = [case["id"] for case in project.results(suite)["cases"]]
    project.engine(lose_under={1: ids})
    gate = "--pitfalls-gate=reverse.cs_exp >= 0.6"

    found = project.results(suite, "--pitfalls-seeds=3", gate)
    assert [(each["editor"], each["passed"]) for each in found["gates"]] == [("rome", True)]
    assert project.last.ret == 0

    found = project.results(suite, "--pitfalls-seeds=2", gate)
    assert [(each["editor"], each["passed"]) for each in found["gates"]] == [("rome", False)]
    assert project.last.ret == 1


def test_a_seed_that_is_cut_short_leaves_a_gate_open(project: Project) -> None:
    suite = project.whole("reverse", 3)
    ids = [case["id"] for case in project.results(suite)["cases"]]

    found = project.results(
        suite, "--pitfalls-seeds=2", "--pitfalls-gate=reverse.cs_exp >= 0.6", "-k", f"seed0 or {ids[0]}"
    )
    (gate,) = found["gates"]
    assert gate["passed"] is None
    assert gate["reason"].startswith("1 of 3 cases")
    assert found["aggregates"][0]["n"] == 1  # the case that ran under both


@pytest.mark.parametrize("option", ["--pitfalls-html=a.html", "--pitfalls-markdown=a.md", "--junitxml=a.xml"])
def test_reports_of_several_seeds(project: Project, option: str) -> None:
    project.run(*REVERSE, "--pitfalls-seeds=2", option)

    text = (project.path / option.partition("=")[2]).read_text(encoding="utf-8")
    assert "rome" in text
    if option.endswith(".md"):
        assert "| reverse | rome | smollm2-135m | 2 |" in text
        assert "nothing that it draws reaches these figures" in text


GATE = "--pitfalls-fail-on=reverse.cs_exp:5pp"


def saved(project: Project, *options: str) -> str:
    """Save a baseline of three cases; returns the option of their suite."""
    suite = project.whole("reverse", 3)
    assert project.run(suite, "--pitfalls-save=base", *options).ret in (0, 1)
    return suite


def test_a_gate_compares_the_same_seeds(project: Project) -> None:
    suite = saved(project, "--pitfalls-seeds=3")

    found = project.results(suite, "--pitfalls-seeds=3", "--pitfalls-baseline=base", GATE)
    (gate,) = found["relative_gates"]
    assert (gate["editor"], gate["seeds"], gate["n"], gate["drop"]) == ("rome", [0, 1, 2], 3, 0.0)
    assert found["comparison"]["paired"] == 9
    assert {change["editor"] for change in found["comparison"]["changes"]} == {"rome"}  # as in the tables


@pytest.mark.parametrize(
    ("there", "here", "seeds", "paired"),
    [
        (["--pitfalls-seeds=3"], [], [], 3),
        (["--pitfalls-seeds=3"], ["--pitfalls-seeds=2"], [0, 1], 6),
        ([], ["--pitfalls-seeds=3"], [0, 1, 2], 3),
        (["--pitfalls-seed=1"], ["--pitfalls-seeds=3"], [0, 1, 2], 3),
        (["--pitfalls-seeds=3"], ["--pitfalls-seed=2"], [], 3),
    ],
)
def test_runs_of_other_seeds_are_compared_under_those_that_both_have(
    project: Project, there: list[str], here: list[str], seeds: list[int], paired: int
) -> None:
    suite = saved(project, *there)

    found = project.results(suite, *here, "--pitfalls-baseline=base", GATE)
    assert found["comparison"]["paired"] == paired
    (gate,) = found["relative_gates"]
    assert gate["n"] == 3
    assert gate["verdict"] != "not_evaluated"
    assert set(gate["seeds"]) <= set(seeds)


def test_a_pitfall_is_known_under_the_seed_that_had_it(project: Project) -> None:
    suite = project.whole("reverse", 3)
    ids = [case["id"] for case in project.results(suite)["cases"]]
    project.engine(lose_under={0: ids[:1], 1: ids[1:2]})
    saved(project, "--pitfalls-seeds=2")

    one = project.run(suite, "--pitfalls-baseline=base")  # a plain run under seed 0
    one.assert_outcomes(passed=2, xfailed=1)
    project.engine(lose_under={0: ids[1:2]})
    other = project.run(suite, "--pitfalls-baseline=base")
    other.assert_outcomes(passed=2, failed=1)


def test_a_baseline_of_other_seeds_is_refused_before_anything_runs(project: Project) -> None:
    suite = saved(project, "--pitfalls-seeds=2")
    opened = len(project.calls("open"))

    result = project.run(suite, "--pitfalls-seed=5", "--pitfalls-seeds=2", "--pitfalls-baseline=base")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        [
            "*--pitfalls-baseline: the baseline has no editor of this run under the same seed: "
            "it has rome+seed0, rome+seed1",
            "*fix: run under a seed that it has*",
        ]
    )
    assert len(project.calls("open")) == opened
    project.run(
        suite, "--pitfalls-seed=5", "--pitfalls-seeds=2", "--pitfalls-baseline=base", "--pitfalls-update-baseline"
    )
    assert project.run(suite, "--pitfalls-seed=5", "--pitfalls-baseline=base").ret == 0


def test_seeds_that_differ_decide_nothing_by_chance(project: Project) -> None:
    """All 40 cases lost under one of two seeds: half the score, and still no proof that the editor got worse."""
    suite = project.whole("reverse", 40)
    ids = [case["id"] for case in project.results(suite)["cases"]]
    assert project.run(suite, "--pitfalls-save=base", "--pitfalls-seeds=2").ret == 0
    project.engine(lose_under={1: ids})

    (gate,) = project.results(suite, "--pitfalls-seeds=2", "--pitfalls-baseline=base", GATE)["relative_gates"]
    assert gate["drop"] == pytest.approx(0.5)
    assert gate["verdict"] == "inconclusive"
