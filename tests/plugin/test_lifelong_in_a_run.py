"""Lifelong in a run: its gates, its thresholds and a chain on a real, tiny model that is stopped and goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RELATIONS = """[P36]
label = "capital"
prompt = "The capital of {} is"
paraphrases = ["{}"]
"""
PARAPHRASES = '", "'.join(f"In way {number}, the capital of {{}} is" for number in range(10))


def suite(folder: Path, *lengths: int) -> str:
    """A suite with a chain of each of these lengths; returns its option."""
    (folder / "relations.toml").write_text(RELATIONS.replace('["{}"]', f'["{PARAPHRASES}"]'), encoding="utf-8")
    rows = [
        {
            "id": f"set-1-000{number}",
            "rule": "set-1",
            "edits": [
                {"relation": "P36", "subject": f"Land {n}", "object": "Paris", "new_object": "Rome"}
                for n in range(length)
            ],
            "others": [{"relation": "P36", "subject": "Peru", "object": "Lima"}],
        }
        for number, length in enumerate(lengths, 1)
    ]
    (folder / "chains.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (folder / "chains.toml").write_text(
        'format = 1\nname = "lifelong"\nkind = "lifelong"\nlicense = "CC0-1.0"\nprovenance = "for this test"\n'
        'relations = "relations.toml"\ncases = "chains.jsonl"\n',
        encoding="utf-8",
    )
    return f"--pitfalls-suite={folder / 'chains.toml'}"


def holding(share: float, length: int) -> str:
    """Code for the conftest: at every checkpoint this share of the edits so far holds, the newest ones."""
    return (
        "for stop in (1, 2, 5, 10, 20, 50, 100, 200):\n"
        "    state = '1' if stop == 1 else f'after {stop}'\n"
        f"    for place in range(int({1 - share} * stop), stop):\n"
        "        fake_engine.GOOD[f'new:{place}', state] = 0.6\n"
        f"for place in range({length}):\n"
        "    fake_engine.GOOD[f'old:{place}', '0'] = 0.5\n"
        "fake_engine.GOOD['new:0', 'again'] = 0.6\n"
    )


@pytest.mark.parametrize(("share", "passes"), [(0.9, True), (0.6, False)])
def test_retention_gates_a_run(project, share, passes):
    option = suite(project.path, 100, 100)
    project.engine(holding(share, 100))
    result = project.run(option, "--pitfalls-gate=lifelong.retention_100 >= 0.8")
    assert result.ret == (pytest.ExitCode.OK if passes else pytest.ExitCode.TESTS_FAILED)
    result.stdout.fnmatch_lines([f"*lifelong.retention_100 >= 0.8*{'0.9' if passes else '0.6'}*"])


def test_a_gate_that_no_chain_is_long_enough_for_is_no_pass(project):
    option = suite(project.path, 20, 20)
    project.engine(holding(1.0, 20))
    result = project.run(option, "--pitfalls-gate=lifelong.retention_100 >= 0.8")
    assert result.ret != pytest.ExitCode.OK
    assert "retention_100" in result.stdout.str() + result.stderr.str()


def test_what_is_forgotten_fails_the_case_and_is_said(project):
    option = suite(project.path, 50, 20)
    project.engine(holding(0.5, 50))
    document = project.results(option)
    assert [case["outcome"] for case in document["cases"]] == ["failed", "failed"]
    first, second = (case["metrics"] for case in document["cases"])
    assert first["retention_50"] == 0.5
    assert first["retention_50_0"] == 0.0
    assert "retention_50" not in second
    assert second["retention_20"] == second["retention"] == 0.5
    assert first["newest"] == 1.0
    project.last.stdout.fnmatch_lines(["*retention*"])
    states = {probe["state"] for probe in document["cases"][0]["probes"]}
    assert {"0", "1", "after 2", "after 50", "again"} <= states
