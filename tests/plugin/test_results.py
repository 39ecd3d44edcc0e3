"""What a run leaves behind: the JSON file, partial results, the same with workers and without."""

from __future__ import annotations

import json
from typing import Any

import pytest
from plugin_helpers import case_ids

R3 = ("--pitfalls-suite=reverse", "--pitfalls-limit=3")


def test_the_document(project):
    cases = case_ids("reverse", 3)
    project.engine(lose=cases[:1])
    document = project.results(
        project.whole("reverse", 3),
        "--pitfalls-limit=3",
        "--pitfalls-seed=3",
        "--pitfalls-gate=reverse.cs_exp >= 0.5",
    )
    assert document["schema_version"] == 1
    run = document["run"]
    assert run["seed"] == 3
    assert run["limit"] == 3
    assert run["success_floor"] == 0.7
    assert run["exit_status"] == 0
    assert run["editors"] == [
        {
            "name": "rome",
            "model": "smollm2-135m",
            "seed": 3,
            "hyper_parameters": {"v_lr": 0.5},
            "second_moment": {"source": "fake"},
            "batch": {"cases": 4, "tokens": 768, "why": "as it was first"},
            "checkpoint": None,
        }
    ]
    assert run["models"][0]["fingerprint"] == "f" * 8
    assert run["models"][0]["name"] == run["models"][0]["source"] == "smollm2-135m"
    assert run["versions"]["pytest"] == pytest.__version__
    assert run["suites"][0]["selected"] == 3
    assert run["timings"]["edit"] == pytest.approx(0.03)
    assert [case["id"] for case in document["cases"]] == cases
    first = document["cases"][0]
    assert first["outcome"] == "xfailed"
    assert first["metrics"]["cs_exp"] == 0.0
    assert first["cached"] is False
    assert [(probe["fact"], probe["state"]) for probe in first["probes"]] == [
        *(("old", state) for state in ("0", "1", "12", "2")),
        ("replaced", "1"),
        *((fact, state) for fact in ("new_exp", "new_imp", "old_imp") for state in ("0", "12", "2")),
    ]
    assert all(len(probe["probabilities"]) >= 11 for probe in first["probes"])
    assert document["aggregates"][0]["n"] == 3
    assert document["aggregates"][0]["reliable"] is None, "three cases do not tell"
    assert document["gates"][0]["passed"] is True


def test_the_document_has_the_batch_size_that_was_found_last(project):
    """Memory may run out at any time. What a store keeps is the last one, too."""
    project.engine(halved_after=1)
    options = ("--pitfalls-suite=reverse", "--pitfalls-limit=12")
    document = project.results(*options)
    found = document["run"]["editors"][0]["batch"]
    assert found == {"cases": 2, "tokens": 768, "why": "memory ran out with 4"}
    assert [len(call["ids"]) for call in project.calls("run")] == [4, 2, 2, 2, 2]
    replayed = project.results(*options, "--pitfalls-replay")
    assert replayed["run"]["editors"][0]["batch"] == found


def test_cross_product(project):
    document = project.results("--pitfalls-suite=conflict", "--pitfalls-limit=2", "--model=gpt2", "--model=gpt2-medium")
    keys = [(a["suite"], a["editor"], a["model"]) for a in document["aggregates"]]
    assert keys == [
        (suite, "rome", model) for suite in ("reverse", "composite", "coverage") for model in ("gpt2", "gpt2-medium")
    ]
    assert [call["open"] for call in project.calls("open")] == ["gpt2", "gpt2-medium"]


def test_partial_results_after_x(project):
    cases = case_ids("reverse", 6)
    project.engine(lose=cases[1:2])
    document = project.results("--pitfalls-suite=reverse", "--pitfalls-limit=6", "-x")
    assert [case["outcome"] for case in document["cases"]] == ["passed", "failed"]


def test_partial_results_after_ctrl_c(project):
    cases = case_ids("reverse", 6)
    project.engine(interrupt_after=1)
    with pytest.raises(KeyboardInterrupt):
        project.run("--pitfalls-json=out.json", "--pitfalls-suite=reverse", "--pitfalls-limit=6")
    document = json.loads((project.path / "out.json").read_text())
    assert [case["id"] for case in document["cases"]] == cases[:3]
    assert document["run"]["exit_status"] == pytest.ExitCode.INTERRUPTED


def test_collect_only_writes_nothing(project):
    project.run("--collect-only", "--pitfalls-json=out.json", *R3)
    assert not (project.path / "out.json").exists()


def test_batches_do_not_depend_on_the_run_order(project):
    project.engine(
        extra="def pytest_collection_modifyitems(config, items):\n"
        "    if config.getoption('verbose') > 0:\n        items.reverse()\n"
    )
    options = ("--pitfalls-suite=reverse", "--pitfalls-limit=6")
    project.run(*options)
    straight = [call["ids"] for call in project.calls("run")]
    assert straight == [case_ids("reverse", 6)[:3], case_ids("reverse", 6)[3:]]
    project.run(*options, "-v")
    assert [call["ids"] for call in project.calls("run")][2:] == straight[::-1]
    project.run(*options, "--pitfalls-batch-size=2")
    assert [len(call["ids"]) for call in project.calls("run")][4:] == [2, 2, 2]


def comparable(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out times and the command."""
    run = {key: document["run"][key] for key in ("seed", "editors", "models", "suites", "exit_status")}
    return {**document, "run": run}


@pytest.mark.parametrize("extra", [(), ("--pitfalls-gate=reverse.cs_exp >= 0.9",)], ids=["plain", "gated"])
def test_workers_give_the_same(project, extra):
    cases = case_ids("reverse", 6)
    project.engine(lose=cases[:2], errors=cases[2:3], skips=cases[3:4])
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('easy')\ndef test_own(pitfall_outcome): pitfall_outcome.check()\n"
    )
    options = ("test_own.py", "--pitfalls-suite=reverse", "--pitfalls-limit=6", "-v", *extra)
    documents, verdicts, summaries = [], [], []
    for workers in ((), ("-n0",), ("-n2",)):
        documents.append(comparable(project.results(*options, *workers)))
        lines = project.last.outlines
        verdicts.append(
            sorted(
                (name, word)
                for line in lines
                for word in ("PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL")
                for name in [next((part for part in line.split() if "::" in part), "")]
                if name and f" {word} " in f" {line} "
            )
        )
        start = next(place for place, line in enumerate(lines) if " editing pitfalls " in line)
        stop = next(place for place, line in enumerate(lines) if "short test summary" in line)
        times = ("time ", "first result after ")
        summaries.append([line for line in lines[start:stop] if not line.startswith(times)])
    assert documents[0] == documents[1] == documents[2]
    assert {case["outcome"] for case in documents[0]["cases"]} >= {"passed", "error", "skipped"}
    assert len(documents[0]["cases"]) == 12
    assert set(verdicts[0]) == set(verdicts[1]) == set(verdicts[2])
    assert summaries[0] == summaries[1] == summaries[2]


def test_whole_run_problems_with_workers(project):
    project.engine(refuse="there is no such model")
    result = project.run(*R3, "-n2", "--pitfalls-json=out.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*there is no such model*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_reports_of_own_hooks(project):
    project.engine(
        extra="def pytest_pitfalls_outcome(item, outcome):\n    print('hook', outcome.case.id)\n"
        "def pytest_pitfalls_results(config, results):\n    print('cases', len(results.cases))\n"
    )
    result = project.run(*R3, "-s")
    result.stdout.fnmatch_lines([f"*hook {case_ids('reverse', 1)[0]}*", "*cases 3*"])


def test_junit(project):
    project.run(*R3, "--junitxml=junit.xml")
    text = (project.path / "junit.xml").read_text()
    assert 'classname="pitfalls.reverse"' in text


OWN = "import pytest\n@pytest.mark.pitfalls('reverse')\ndef test_own(pitfall_case): {body}\n"
ORDERS = {
    "own first": "def pytest_collection_modifyitems(items):\n    items.sort(key=lambda i: 'test_own' not in i.name)\n",
    "own last": "def pytest_collection_modifyitems(items):\n    items.sort(key=lambda i: 'test_own' in i.name)\n",
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("pass", "passed", None),
        ("assert 0, 'mine'", "failed", "mine\nassert 0"),
        ("pytest.skip('not now')", "passed", None),
    ],
)
def test_a_test_without_scores_hides_none(project, order, body, outcome, reason):
    project.engine(extra=ORDERS[order])
    (project.path / "test_own.py").write_text(OWN.format(body=body))
    document = project.results("test_own.py", *R3)
    assert [case["outcome"] for case in document["cases"]] == [outcome] * 3
    assert all(case["metrics"]["cs_exp"] == 1.0 and case["probes"] for case in document["cases"])
    assert [case["reason"] for case in document["cases"]] == [reason and reason.splitlines()[0]] * 3
    assert document["aggregates"][0]["n"] == 3


def test_cases_without_scores_do_not_count(project):
    (project.path / "test_own.py").write_text(OWN.format(body="pass"))
    document = project.results("test_own.py", "--pitfalls-limit=3", "--pitfalls-gate=reverse.cs_exp >= 0.5")
    assert [case["outcome"] for case in document["cases"]] == ["passed"] * 3
    assert document["aggregates"][0]["n"] == 0
    assert document["gates"][0]["passed"] is None
    assert document["run"]["exit_status"] == pytest.ExitCode.TESTS_FAILED


def test_a_run_of_errors_names_its_model(project):
    project.engine(errors=case_ids("reverse", 3))
    document = project.results(*R3)
    assert document["run"]["models"][0]["fingerprint"] == "f" * 8
    assert document["run"]["editors"][0]["name"] == "rome"


def test_a_result_file_that_cannot_be_written_at_the_end(project):
    project.engine(
        extra="import pathlib\ndef pytest_pitfalls_results(config, results):\n    pathlib.Path('out.json').mkdir()\n"
    )
    result = project.run("--pitfalls-json=out.json", *R3)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["Knowledge conflict*", "ERROR: --pitfalls-json: cannot write *out.json*"])


def test_errors_and_own_asserts_tell_the_rerun_command(project):
    cases = case_ids("reverse", 3)
    project.engine(errors=cases[:1])
    (project.path / "test_own.py").write_text(OWN.format(body=f"assert pitfall_case.id != '{cases[2]}'"))
    result = project.run("test_own.py", *R3)
    result.assert_outcomes(passed=4, failed=1, errors=1)
    for name in ("pitfalls/reverse.py::test_reverse", "test_own.py::test_own"):
        place = cases[0] if "reverse" in name else cases[2]
        result.stdout.fnmatch_lines(["*- rerun -*", f"pytest '{name}[[]rome-smollm2-135m-{place}[]]' --editor=rome"])
