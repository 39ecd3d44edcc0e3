"""`editpitfalls compare A B` judges two runs as a run of pytest does that has A as its baseline."""

from __future__ import annotations

import json
import random

import pytest
from plugin_helpers import case_ids

from pytest_editpitfalls.cli.app import main

SUITES = ("reverse", "easy")
GATES = [
    (),
    ("reverse.cs_exp:2pp",),
    ("reverse.cs_exp:0", "easy.distortion:5%"),
    ("*.es:40pp",),
    ("reverse.cs_exp >= 0.5", "easy.succ:2pp"),
    ("reverse.cs_exp:60pp",),
]


def made_up(seed: int) -> dict[str, dict[str, list[str]]]:
    """How the cases of two runs come out."""
    draw = random.Random(seed)
    every = [name for suite in SUITES for name in case_ids(suite, 6)]
    # reverse and easy may name cases alike: then both go the same way
    worse = draw.choice([0, 1, 3, 6])
    return {
        "there": {"lose": draw.sample(every, draw.choice([0, 2]))},
        "here": {
            "lose": draw.sample(every, worse),
            "untaken": draw.sample(every, draw.choice([0, 0, 1, 10])),
            "errors": draw.sample(every, draw.choice([0, 0, 0, 1])),
        },
    }


@pytest.fixture
def suites(project):
    return [project.whole(suite, 6) for suite in SUITES]


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_and_exit_status_are_the_same(project, suites, capsys, monkeypatch, seed):
    monkeypatch.chdir(project.path)
    both = made_up(seed)
    project.engine(**both["there"])
    project.run(*suites, "--pitfalls-save=main", "--pitfalls-json=a.json")
    project.engine(**both["here"])
    project.run(*suites, "--pitfalls-json=b.json")
    for gates in GATES:
        for meaning in ("cases", "excess", "pass", "fail") if gates == GATES[2] else ("cases",):
            typed = [f"--pitfalls-gate={gate}" if ">" in gate else f"--pitfalls-fail-on={gate}" for gate in gates]
            run = project.results(*suites, "--pitfalls-baseline=main", f"--pitfalls-inconclusive={meaning}", *typed)
            status = int(project.last.ret)
            capsys.readouterr()
            words = [word for gate in gates for word in ("--fail-on", gate)]
            with pytest.raises(SystemExit) as left:
                main(["compare", "a.json", "b.json", f"--inconclusive={meaning}", "--json", *words])
            (compared,) = json.loads(capsys.readouterr().out)["runs"]
            assert compared["relative_gates"] == run["relative_gates"]
            assert compared["gates"] == run["gates"]
            assert int(left.value.code or 0) == status, (gates, meaning, compared["reasons"], run["reasons"])
            # what pytest shows as a failed test is a reason for compare
            told = [(each["what"], each["cases"]) for each in compared["reasons"]]
            assert [(each["what"], each["cases"]) for each in run["reasons"] if each["what"] != "unreliable"] == [
                (what, cases) for what, cases in told if what == "new_failures" and is_judged(cases, run)
            ]
            assert [each for each in run["reasons"] if each["what"] == "unreliable"] == [
                each for each in compared["reasons"] if each["what"] == "unreliable"
            ]


def is_judged(cases, run):
    outcomes = {(case["suite"], case["id"]): case["outcome"] for case in run["cases"]}
    return all(outcomes[case["suite"], case["id"]] == "xfailed" for case in cases)
