"""The fixtures, as a user's own tests see them."""

from __future__ import annotations

from plugin_helpers import WITH_EACH_SUITE, count_of


def own(project, body: str) -> None:
    (project.path / "test_own.py").write_text(f"import pytest\n{body}")


def test_the_outcome(project):
    own(
        project,
        "@pytest.mark.pitfalls('reverse')\n"
        "def test_own(pitfall_case, pitfall_outcome):\n"
        "    assert pitfall_outcome.case is pitfall_case\n"
        "    assert pitfall_case.kind == 'reverse' and len(pitfall_case.edits) == 2\n"
        "    assert pitfall_outcome.passed and pitfall_outcome.held and pitfall_outcome.excuse is None\n"
        "    assert pitfall_outcome.probability('old', '12') == pytest.approx(0.1)\n"
        "    assert pitfall_outcome.probability('old', '3') is None\n"
        "    assert pitfall_outcome.judge('cm >= 0.9').passed is False\n"
        "    pitfall_outcome.check()\n",
    )
    project.run("test_own.py", "--pitfalls-limit=2").assert_outcomes(passed=2)


def test_edited_and_base_model(project):
    own(
        project,
        "@pytest.mark.pitfalls('coverage')\n"
        "def test_own(edited_model, base_model, base_tokenizer):\n"
        "    assert base_model.state == '0' and base_tokenizer == 'tokenizer'\n"
        "    with edited_model() as model:\n        assert model.state == '12'\n"
        "    with edited_model('2') as model:\n        assert model.state == '2'\n"
        "    assert base_model.state == '0'\n"
        "def test_base(base_model):\n    assert base_model.state == '0'\n",
    )
    project.run("test_own.py", "--pitfalls-limit=1").assert_outcomes(passed=2)


def test_an_unknown_state(project):
    own(
        project,
        "@pytest.mark.pitfalls('reverse')\ndef test_own(edited_model):\n    with edited_model('3'): pass\n",
    )
    document = project.results("test_own.py", "--pitfalls-limit=1")
    project.last.assert_outcomes(failed=1)
    project.last.stdout.fnmatch_lines(["case * has no state '3'", "  fix: its states are *"])
    assert document["cases"][0]["outcome"] == "error"


def test_a_case_without_a_suite(project):
    own(project, "def test_own(pitfall_outcome): pass\n")
    result = project.run("test_own.py")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["test_own.py::test_own: the test asks for a case but names no suite", "  fix: put @*"])


def test_a_case_of_two_tests_is_edited_once(project):
    own(
        project,
        "@pytest.mark.pitfalls('reverse')\n@pytest.mark.parametrize('twice', [1, 2])\n"
        "def test_own(twice, pitfall_outcome): assert twice == 1\n",
    )
    document = project.results("test_own.py", "--pitfalls-limit=2", "--pitfalls-suite=reverse")
    project.last.assert_outcomes(passed=4, failed=2)
    assert len(project.calls("run")) == 1
    assert [case["outcome"] for case in document["cases"]] == ["failed", "failed"]


def test_a_suite_beside_the_module(project):
    import shutil

    from pytest_editpitfalls.shipped import suites_directory

    (project.path / "below").mkdir()
    for name in (*WITH_EACH_SUITE, "reverse.jsonl"):
        shutil.copy(suites_directory() / name, project.path / "below" / name)
    text = (suites_directory() / "reverse.toml").read_text()
    (project.path / "below" / "mine.toml").write_text(text.replace('"reverse"\n', '"mine"\n', 1))
    (project.path / "below" / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('mine.toml')\ndef test_own(pitfall_outcome): pass\n"
    )
    document = project.results("below", "--pitfalls-gate=mine.cs_exp >= 0.5")
    project.last.assert_outcomes(passed=count_of("reverse"))
    assert document["run"]["suites"][0]["name"] == "mine"
    assert document["gates"][0]["passed"] is True


def test_what_a_test_of_ones_own_prints_is_not_folded(project):
    own(
        project,
        "@pytest.mark.pitfalls('coverage')\n"
        "def test_own(pitfall_outcome):\n"
        "    for i in range(9): print('line', i)\n"
        "    assert pitfall_outcome is None\n",
    )
    result = project.run("test_own.py", "--pitfalls-limit=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["line 0", "line 8"])
    result.stdout.no_fnmatch_line("*more lines*")
