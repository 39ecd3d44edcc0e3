"""What one edit spreads to, from suite files to tables: with the fake engine, and with a real one on a tiny model."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

PARAPHRASES = [f"{word}, {{}} has" for word in "abcdefghij"]
RELATIONS = "".join(
    f'[{name}]\nlabel = "{label}"\nprompt = "{prompt}"\nparaphrases = {PARAPHRASES}\n'
    for name, label, prompt in (
        ("capital", "capital", "The capital of {} is"),
        ("capital-of", "capital of", "{} is the capital of"),
        ("continent", "continent", "{} lies in"),
    )
)


def fact(relation, subject, label):
    return {"relation": relation, "subject": subject, "object": label}


def change(relation, subject, old, new):
    return {**fact(relation, subject, old), "new_object": new}


CAPITAL = [change("capital", "France", "Paris", "Madrid")]
LINES = {
    "locality": {
        "edits": [change("continent", "France", "Europe", "Asia")],
        "neighbours": [fact("continent", "Spain", "Europe"), fact("continent", "Italy", "Europe")],
    },
    "distraction": {
        "edits": CAPITAL,
        "abouts": [fact("continent", "Paris", "Europe")],
        "hops": [fact("continent", "Italy", "Europe")],
    },
    "superficial": {"edits": CAPITAL, "repeated": "Paris Paris", "question": "Is it Paris?"},
    "inverse": {
        "edits": CAPITAL,
        "reversed": change("capital-of", "Madrid", "Spain", "France"),
        "denials": ["It is not true that {}"],
    },
    "same_subject": {"edits": CAPITAL, "others": [fact("continent", "France", "Europe")]},
}


def write(folder):
    """Write a suite of each kind, with one case; return the options that name them."""
    (folder / "relations.toml").write_text(RELATIONS, "utf-8")
    for kind, line in LINES.items():
        (folder / f"{kind}.jsonl").write_text(json.dumps({"id": "one", "rule": "any", **line}) + "\n", "utf-8")
        (folder / f"{kind}.toml").write_text(
            f'format = 1\nname = "my-{kind}"\nkind = "{kind}"\nlicense = "CC0-1.0"\nprovenance = "this test"\n'
            f'relations = "relations.toml"\ncases = "{kind}.jsonl"\n',
            "utf-8",
        )
    return [f"--pitfalls-suite={kind}.toml" for kind in LINES]


def test_each_kind_is_asked_judged_and_shown(project):
    project.engine(measured={("drift", "1"): 0.25}, says={("said", "1"): "Madrid", ("said", "0"): "Paris, of course"})
    document = project.results(*write(project.path))
    found = {case["suite"].removeprefix("my-"): case for case in document["cases"]}
    assert list(found) == ["locality", "distraction", "superficial", "inverse", "same_subject"]
    assert (found["superficial"]["metrics"]["om_0"], found["superficial"]["metrics"]["om"]) == (1.0, 0.0)
    assert found["locality"]["metrics"]["drift"] == found["same_subject"]["metrics"]["drift"] == 0.25
    for kind, case in found.items():
        assert case["edits"][0].endswith(("... Paris -> Madrid", "... Europe -> Asia"))
        assert case["thresholds"][0]["threshold"] == "es >= 1", kind
    project.last.stdout.fnmatch_lines(
        [
            f"*What an edit spreads to: {kind} (%), rome on smollm2-135m*"
            for kind in sorted(found, key=list(found).index)
        ]
    )


@pytest.mark.parametrize(
    ("kind", "field", "value", "message"),
    [
        ("locality", "neighbours", [], "*locality.jsonl:1, field neighbours*"),
        (
            "distraction",
            "abouts",
            [fact("continent", "Paris", "Madrid")],
            "*abouts.0*names the edit's new object 'Madrid'*",
        ),
        ("superficial", "question", "Is it so?", "*field question*does not name the object that the edit replaces*"),
        ("inverse", "denials", ["It is not true"], "*field denials.0*exactly one {}*"),
        ("same_subject", "others", [fact("continent", "Spain", "Europe")], "*others.0.subject*'Spain' is not edited*"),
        ("same_subject", "others", [fact("sea", "France", "Atlantic")], "*relation 'sea' has no prompts*"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_before_anything_runs(project, kind, field, value, message):
    write(project.path)
    line = {"id": "one", "rule": "any", **LINES[kind], field: value}
    (project.path / f"{kind}.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    result = project.run(f"--pitfalls-suite={kind}.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not project.calls("open")
    text = " ".join(line.strip() for line in result.errlines)
    assert all(part in text for part in message.strip("*").split("*")), text


def test_a_tiny_model_answers_all_of_them(tmp_path):
    """With the real engine: figures follow from the probabilities that are recorded beside them."""
    from tests.tiny_models import save_tiny

    model = save_tiny(tmp_path / "tiny-llama", "llama")
    options = [*write(tmp_path), "--editor=ft", f"--model={model}", "--pitfalls-json=run.json"]
    options += ["--pitfalls-set=ft.layers=[1]", "--pitfalls-set=ft.num_steps=3", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    document = json.loads((tmp_path / "run.json").read_text("utf-8"))
    cases = {case["suite"].removeprefix("my-"): case for case in document["cases"]}
    p = {
        kind: {(probe["fact"], probe["state"]): probe["probabilities"] for probe in case["probes"]}
        for kind, case in cases.items()
    }
    metrics = {kind: case["metrics"] for kind, case in cases.items()}
    assert not [name for found in metrics.values() for name, value in found.items() if value is None]

    def share(kind, pairs, state):
        won = [a > b for one, other in pairs for a, b in zip(p[kind][one, state], p[kind][other, state], strict=True)]
        return sum(won) / len(won)

    near = [(f"neighbour:{place}", f"neighbour_new:{place}") for place in (0, 1)]
    for state, name in (("1", "ns"), ("0", "ns_0")):
        assert metrics["locality"][name] == share("locality", near, state)
    drift = p["locality"]["drift", "1"]
    assert metrics["locality"]["drift"] == pytest.approx(math.fsum(drift) / 2)
    assert min(drift) > 0
    behind = [("about_new:0", "about_true:0"), ("hop_new:0", "hop_true:0")]
    assert metrics["distraction"]["es_context"] == share("distraction", behind, "1")
    attacked = [("repeated_true", "repeated_new"), ("question_true", "question_new")]
    assert metrics["superficial"]["op"] == share("superficial", attacked, "1")
    assert metrics["inverse"]["denied"] == share("inverse", [("denied_new", "denied_true")], "1")
    before, after = (p["same_subject"]["other:0", state] for state in "01")
    assert metrics["same_subject"]["others_kept"] == float(sum(after) >= 0.9 * sum(before))
