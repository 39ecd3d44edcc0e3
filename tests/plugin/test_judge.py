"""Somebody's own judge of what a model said."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from dataclasses import replace

import pytest
from plugin_helpers import STORED, command
from test_measures_in_a_run import suites  # noqa: F401

from pytest_editpitfalls.execution.judging import Judge
from pytest_editpitfalls.probes import Generated
from pytest_editpitfalls.program import Program, State

SAID = "--pitfalls-suite=said.toml"
JUDGE = "--pitfalls-judge=my_judge:score"


@pytest.fixture
def judge(project, monkeypatch):
    """A project whose model says something that no answer stands in; write the judge."""
    values = {("new", "1"): 0.8, ("true", "1"): 0.1}
    project.engine(
        f"fake_engine.GOOD.update({values!r})", says=dict.fromkeys([("said", "0"), ("said", "1")], "the eternal city")
    )

    def write(body: str) -> None:
        (project.path / "my_judge.py").write_text(f"def score(prompt, text, answers):\n    {body}\n", "utf-8")

    monkeypatch.setattr("sys.dont_write_bytecode", True)  # the module is written again within a second
    return write


def said(document) -> list[float]:
    return [case["metrics"]["said"] for case in document["cases"]]


def test_it_takes_the_place_of_compared_words(project, judge):
    assert said(project.results(SAID)) == [0.0] * 3
    judge('return 0.75 if "eternal" in text and answers == ("Rome",) and "capital" in prompt else 0')
    assert said(project.results(SAID, JUDGE)) == [0.75] * 3
    assert "--pitfalls-judge" not in project.last.stdout.str()  # all pass
    judge("return False")
    failed = project.results(SAID, JUDGE)
    assert said(failed) == [0.0] * 3
    project.last.stdout.fnmatch_lines(["*pytest *--pitfalls-judge=my_judge:score*"])


def test_another_judge_s_scores_are_not_used(project, judge):
    (project.path / "other.py").write_text("def score(*_): return 1", "utf-8")
    judge("return 0.5")
    assert said(project.results(STORED, SAID, JUDGE)) == [0.5] * 3
    assert len(project.calls("run")) == 1
    assert said(project.results(STORED, SAID, JUDGE)) == [0.5] * 3
    assert len(project.calls("run")) == 1  # the same judge's are
    assert said(project.results(STORED, SAID, "--pitfalls-judge=other:score")) == [1.0] * 3
    assert said(project.results(STORED, SAID)) == [0.0] * 3
    judge("return 0.25")
    assert said(project.results(STORED, SAID, JUDGE)) == [0.25] * 3  # nor an earlier version's of the same
    before = len(project.calls("run"))
    project.results(STORED, "--pitfalls-suite=collapse.toml")
    once = len(project.calls("run"))
    assert once > before
    project.results(STORED, "--pitfalls-suite=collapse.toml", JUDGE)
    assert len(project.calls("run")) == once  # where nothing is said there is nothing to judge


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('raise RuntimeError("no quota\\x1b[31m")', "raised RuntimeError: no quota\\x1b[[]31m"),
        ("return 2", "gave 2; it has to give a number from 0 to 1"),
        ('return "yes"', "gave 'yes'; it has to give"),
        ("return float('nan')", "gave nan; it has to give"),
        ("return None", "gave None; it has to give"),
    ],
)
def test_one_that_raises_or_gives_nonsense_is_the_case_s_error(project, judge, body, words):
    judge(body)
    result = project.run(SAID, JUDGE)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [f"*the judge my_judge:score, asked about 'The capital of * and 'the eternal city', {words}*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_an_object_without_a_hash_is_a_judge(project, judge):
    (project.path / "own.py").write_text(
        "import dataclasses\n@dataclasses.dataclass\nclass Own:\n    share: float\n"
        "    def __call__(self, *_):\n        return self.share\nscore = Own(0.75)\n",
        "utf-8",
    )
    assert said(project.results(SAID, "--pitfalls-judge=own:score")) == [0.75] * 3


def test_a_value_that_cannot_be_looked_at_is_the_case_s_error(project, judge):
    (project.path / "own.py").write_text(
        "class Odd:\n    def __float__(self):\n        raise RuntimeError('two numbers')\n"
        "    def __repr__(self):\n        raise RuntimeError('no words')\n"
        "def score(*_):\n    return Odd()\n",
        "utf-8",
    )
    result = project.run(SAID, "--pitfalls-judge=own:score")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*the judge own:score*gave a Odd; it has to give a number*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("made", ["functools.partial(given, {})", "functools.lru_cache(lambda *_: {})"])
def test_a_judge_that_is_wrapped_is_another_one_when_its_module_is(tmp_path, monkeypatch, made):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    versions = set()
    for value in (0.5, 0.25):
        text = f"import functools\ndef given(value, *_):\n    return value\nscore = {made.format(value)}\n"
        (tmp_path / "wrapped_judge.py").write_text(text, "utf-8")
        sys.modules.pop("wrapped_judge", None)
        importlib.invalidate_caches()
        versions.add(Judge.at("wrapped_judge:score").version)
    sys.modules.pop("wrapped_judge", None)
    assert len(versions) == 2
    assert "" not in versions


def test_scores_of_a_judge_without_a_source_are_not_those_of_another_run():
    unknown = Judge.at("math:hypot")
    unknown = replace(unknown, version="")
    program = Program("x", (), (State("0", ()),), (Generated("said", "0", ("A",), ("Rome",)),))
    assert unknown.key("case", program, "run 1") != unknown.key("case", program, "run 2")
    known = replace(unknown, version="1")
    assert known.key("case", program, "run 1") == known.key("case", program, "run 2")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("my_judge", "is not package.module:attribute"),
        ("my_judge:scores", "has no attribute 'scores'"),
        ("no_such_judge:score", "cannot be imported"),
        ("my_judge:__name__", "is no function"),
    ],
)
def test_one_that_is_none_is_refused_before_work(project, judge, path, words):
    judge("return 1")
    result = project.run(SAID, f"--pitfalls-judge={path}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{words}*"])
    assert project.calls("open") == []


OTHER = "--pitfalls-judge=other:score"


@pytest.fixture
def judges(project, judge):
    """A project with two judges: `JUDGE` gives 0.5, `OTHER` gives 1."""
    (project.path / "other.py").write_text("def score(*_): return 1", "utf-8")
    judge("return 0.5")
    return judge


def test_results_and_store_say_which_judge_scored(project, judges):
    both = project.results(STORED, SAID, "--pitfalls-suite=collapse.toml", JUDGE)
    said_suite, collapse = sorted(both["run"]["suites"], key=lambda suite: suite["name"] != "said")
    assert said_suite["judge"] == {"name": "my_judge:score", "source": source_of(project, "my_judge.py")}
    assert collapse["judge"] is None  # nothing is said
    records = [json.loads(path.read_bytes())["content"] for path in project.path.glob(".pitfalls/records/*/*.json")]
    of_said = [record for record in records if record["suite"] == "said"]
    assert len(of_said) == 3
    assert all(record["judge"] == {**said_suite["judge"], "once": None} for record in of_said)
    assert not any("judge" in record for record in records if record["suite"] == "collapse")


def test_a_replay_says_who_scored_a_case_and_how_to_have_that(project, judges):
    project.run(STORED, SAID, JUDGE)
    replay = (STORED, SAID, "--pitfalls-replay")
    source = source_of(project, "my_judge.py")
    result = project.run(*replay)
    result.stdout.fnmatch_lines(
        [
            f"*case P36-0 of suite 'said' is in the store as scored by judge my_judge:score (source {source}); "
            "this run has no judge",
            "*fix: replay with --pitfalls-judge=my_judge:score, or run without --pitfalls-replay",
        ]
    )
    result = project.run(*replay, OTHER)
    result.stdout.fnmatch_lines(["*as scored by judge my_judge:score*; this run has the judge other:score (source *"])
    assert said(project.results(*replay, JUDGE)) == [0.5] * 3
    judges("return 0.75")
    result = project.run(*replay, JUDGE)
    result.stdout.fnmatch_lines(
        [
            "*this run has the judge my_judge:score (source *",
            "*fix: give the judge's module the source code that it had*",
        ]
    )


def test_a_replay_with_a_judge_of_cases_that_were_not_judged(project, judges):
    project.run(STORED, SAID)
    result = project.run(STORED, SAID, "--pitfalls-replay", JUDGE)
    result.stdout.fnmatch_lines(
        [
            "*is in the store as scored by compared words; this run has the judge*",
            "*fix: replay without --pitfalls-judge*",
        ]
    )


def test_a_replay_finds_scores_of_a_judge_without_a_source(project, judges, monkeypatch):
    monkeypatch.setattr("pytest_editpitfalls.execution.judging._version", lambda *_: "")
    assert said(project.results(STORED, SAID, JUDGE)) == [0.5] * 3
    again = project.results(STORED, SAID, JUDGE, "--pitfalls-replay")
    assert said(again) == [0.5] * 3
    assert again["run"]["suites"][0]["judge"] == {"name": "my_judge:score", "source": None}


def test_a_baseline_of_another_judge_is_refused_before_work(project, judges):
    project.run(SAID, JUDGE, "--pitfalls-save=main")
    opened = len(project.calls("open"))
    for options in ((), (OTHER,)):
        result = project.run(SAID, *options, "--pitfalls-baseline=main")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            ["*what the model says was scored by something else: suite said (there judge my_judge:score (source *"]
        )
    assert len(project.calls("open")) == opened
    assert project.run(SAID, JUDGE, "--pitfalls-baseline=main").ret == 0
    judges("return 0.5  # the same, as far as one can know")
    result = project.run(SAID, JUDGE, "--pitfalls-baseline=main")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    project.run(SAID, "--pitfalls-save=words")
    result = project.run(SAID, JUDGE, "--pitfalls-baseline=words")
    result.stderr.fnmatch_lines(["*suite said (there compared words, here judge my_judge:score (source *"])


def test_a_judge_that_has_nothing_to_judge_is_no_other_protocol(project, judges):
    project.run("--pitfalls-suite=collapse.toml", "--pitfalls-save=main")
    result = project.run("--pitfalls-suite=collapse.toml", JUDGE, "--pitfalls-baseline=main")
    assert result.ret == 0


def test_runs_of_different_judges_are_not_compared(project, judges, capsys, monkeypatch):
    monkeypatch.chdir(project.path)
    project.run(STORED, SAID, JUDGE, "--pitfalls-json=mine.json")
    project.run(STORED, SAID, OTHER, "--pitfalls-json=other.json", "--pitfalls-html=runs.html")
    project.run(SAID, JUDGE, "--pitfalls-json=again.json")
    project.run(SAID, JUDGE, "--pitfalls-save=main")
    assert command("compare", "mine.json", "again.json") == 0
    assert command("compare", "main", "again.json") == 0
    capsys.readouterr()
    for first, second in (("mine.json", "other.json"), ("other.json", "main"), ("main", "other.json")):
        assert command("compare", first, second) != 0
        words = " ".join(capsys.readouterr().err.split())
        assert "what the model says was scored by something else: suite said (there judge " in words
    assert command("noise", "mine.json", "other.json") != 0
    assert "different judges" in capsys.readouterr().err
    (header,) = (project.path / ".pitfalls" / "headers").glob("*.json")
    assert command("compare", "mine.json", header.stem[:12]) != 0  # the store has both
    words = " ".join(capsys.readouterr().err.split())
    assert "were scored by judge my_judge:score" in words
    assert "and by judge other:score" in words


def source_of(project, name: str) -> str:
    digest = hashlib.sha256((project.path / name).read_bytes()).hexdigest()
    return hashlib.sha256(digest.encode()).hexdigest()[:16]
