"""Editors of one's own that would give a wrong, a stale or a green figure: run as a user runs them, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from plugin_helpers import write_small

QUICK = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:randomly")
REVERSE = ("--pitfalls-suite=reverse", "--pitfalls-limit=3")

TRAINS = """
import torch


def {name}(model, tokenizer, requests{keywords}):
    for request in requests:
        text = request["prompt"].replace("{{}}", request["subject"]) + " " + request["target_new"]
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        weight = model.model.layers[1].mlp.down_proj.weight
        (gradient,) = torch.autograd.grad(model(input_ids=ids, labels=ids).loss, weight)
        with torch.no_grad():
            weight -= {rate} * gradient
    return model
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A checkpoint directory of a tiny random Llama."""
    from tests.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny-llama", "llama")


@pytest.fixture
def folder(pytester):
    """The directory where pytest is run, and where the editor's code is."""
    return pytester.path


@pytest.fixture
def run(pytester, folder, tiny, monkeypatch):
    """Run pytest with an editor on the tiny model; in a process of its own where it makes others."""
    import pytest_editpitfalls.engine.session  # noqa: F401  pytester takes what a run imports out of sys.modules again

    monkeypatch.setenv("COLUMNS", "220")
    from pytest_editpitfalls.store.sources import package_source_digest

    def run(editor: str, *arguments: str) -> pytest.RunResult:
        options = [
            "-p",
            "no:cacheprovider",
            *QUICK,
            f"--editor={editor}",
            f"--model={tiny}",
            "--pitfalls-json=out.json",
        ]
        makes_others = {"-n2", "--pitfalls-isolate"} & set(arguments)
        package_source_digest.cache_clear()  # taken once a process, and here a process has several runs
        start = pytester.runpytest_subprocess if makes_others else pytester.runpytest_inprocess
        return start(*options, *arguments)

    return run


def document(folder: Path) -> Any:
    return json.loads((folder / "out.json").read_text(encoding="utf-8"))


def test_an_editor_that_does_nothing_is_not_green(run, folder):
    (folder / "lazy.py").write_text("def noop(model, tokenizer, requests):\n    return model\n", encoding="utf-8")
    done = run(
        "lazy:noop", *REVERSE, "--pitfalls-suite=easy", "--pitfalls-suite=composite", "--pitfalls-suite=coverage"
    )
    assert done.ret == 1, str(done.stdout)
    cases = document(folder)["cases"]
    assert {case["suite"] for case in cases} == {"reverse", "easy", "composite", "coverage"}
    assert {case["outcome"] for case in cases} == {"failed"}
    assert {case["metrics"]["es"] for case in cases} == {
        0,
        1,
    }  # a random model, unedited
    assert str(done.stdout).count("PitfallFailed: edit 1 changed nothing") == len(cases)


def test_a_package_that_the_adapter_calls_counts(run, folder):
    (folder / "method").mkdir()
    (folder / "method" / "__init__.py").write_text("", encoding="utf-8")
    main = folder / "method" / "main.py"
    main.write_text(TRAINS.format(name="apply", keywords="", rate="0.5"), encoding="utf-8")
    adapter = "def tune(model, tokenizer, requests):\n    from method.main import apply\n\n"
    (folder / "adapter.py").write_text(adapter + "    return apply(model, tokenizer, requests)\n", encoding="utf-8")
    run("adapter:tune", *REVERSE)
    first = document(folder)["cases"]
    run("adapter:tune", *REVERSE)
    assert all(case["cached"] for case in document(folder)["cases"])
    main.write_text(TRAINS.format(name="apply", keywords="", rate="0.0 * 0.5"), encoding="utf-8")
    run("adapter:tune", *REVERSE)
    again = document(folder)["cases"]
    assert not any(case["cached"] for case in again)
    assert [case["probes"] for case in again] != [case["probes"] for case in first]


LEAKS = (
    TRAINS.format(name="leaky", keywords=", rate: float = 0.5", rate="rate * (1 + sum(seen))")
    .replace("import torch\n", "import torch\n\nseen = []\n")
    .replace("    return model", "    seen.append(len(requests[0]['subject']) / 10)\n    return model")
)


@pytest.mark.parametrize("workers", [(), ("-n2", "--pitfalls-batch-size=2")], ids=["plain", "n2"])
def test_an_editor_that_keeps_state_is_an_error_and_leaves_nothing_in_the_store(run, folder, workers):
    (folder / "own.py").write_text(LEAKS, encoding="utf-8")
    suites = (write_small(folder, "reverse", 4), *workers)
    done = run("own:leaky", *suites, "--pitfalls-save=base")
    assert done.ret == 4, str(done.stdout) + str(done.stderr)
    words = "a case depends on the cases before it, or on chance of its own ("
    assert f"ERROR: editor 'leaky' on tiny-llama: {words}" in str(done.stdout)
    assert "run again at the end: log p of '" in str(done.stdout)
    assert "fix: keep nothing between calls, or keep it by the requests' case_id and step; give the editor" in str(
        done.stdout
    )
    assert f"! leaky on tiny-llama: {words}" in str(done.stdout)
    assert not (folder / "pitfalls-baselines").exists()
    (aggregate,) = document(folder)["aggregates"]
    assert (aggregate["repeatable"], aggregate["reliable"]) == (False, False)
    run("own:leaky", *suites)
    assert not any(case["cached"] for case in document(folder)["cases"])


def test_reset_is_called_before_each_case(run, folder):
    alone = {}
    for case in (1, 3):
        (folder / "own.py").write_text(LEAKS + "\n\nleaky.reset = seen.clear\n", encoding="utf-8")
        done = run("own:leaky", "--pitfalls-suite=reverse", f"--pitfalls-limit={case}", "--pitfalls-fresh")
        assert "depends on the cases before it" not in str(done.stdout), str(done.stdout)
        for each in document(folder)["cases"]:
            alone.setdefault(each["id"], []).append(each["probes"])
    assert sum(len(answers) == 2 for answers in alone.values()) == 1
    assert all(answers[0] == answers[-1] for answers in alone.values())


def test_isolated_cases_do_not_see_one_another(run, folder):
    """The same editor that keeps state: each case is what it is alone, whatever ran before it."""
    (folder / "own.py").write_text(LEAKS, encoding="utf-8")
    done = run("own:leaky", *REVERSE, "--pitfalls-isolate")
    assert "depends on the cases before it" not in str(done.stdout)
    together = {case["id"]: case["probes"] for case in document(folder)["cases"]}
    run("own:leaky", "--pitfalls-suite=reverse", "--pitfalls-limit=1", "--pitfalls-fresh")
    (alone,) = document(folder)["cases"]
    assert together[alone["id"]] == alone["probes"]
    last = list(together)[-1]
    run("own:leaky", "--pitfalls-suite=reverse", "-k", last, "--pitfalls-fresh")
    (alone,) = document(folder)["cases"]
    assert together[last] == alone["probes"]


def test_an_isolated_case_that_kills_its_process_is_an_error_alone(run, folder):
    dies = LEAKS.replace(
        "    return model",
        "    if requests[0]['case_id'].endswith('0001') and len(seen) > 1:\n"
        "        import os, signal\n\n        os.kill(os.getpid(), signal.SIGKILL)\n    return model",
    )
    (folder / "own.py").write_text(dies.replace("and len(seen) > 1", "and requests[0]['relation_id'] == 'P36'"))
    done = run("own:leaky", *REVERSE, "--pitfalls-isolate")
    assert done.ret == 1, str(done.stdout)
    outcomes = {case["id"]: (case["outcome"], case["reason"]) for case in document(folder)["cases"]}
    killed = [reason for outcome, reason in outcomes.values() if outcome == "error"]
    assert killed, outcomes
    assert all("its process ended by signal SIGKILL (--pitfalls-isolate)" in reason for reason in killed)
    assert len(killed) < len(outcomes)


@pytest.mark.parametrize("argument", ["--pitfalls-device=cuda", "--pitfalls-device=cuda:0"])
def test_a_gpu_cannot_be_isolated(run, argument):
    done = run("rome", *REVERSE, "--pitfalls-isolate", argument)
    assert done.ret == 4
    assert "ERROR: --pitfalls-isolate: a process that uses a GPU cannot be forked" in str(done.stderr)


def test_a_run_that_stops_early_is_looked_at_too(run, folder):
    (folder / "own.py").write_text(LEAKS, encoding="utf-8")
    suites = ("--pitfalls-suite=reverse", "--pitfalls-limit=4")
    done = run("own:leaky", *suites, "--maxfail=2")
    assert "depends on the cases before it" in str(done.stdout), str(done.stdout)
    assert done.ret == 4
    run("own:leaky", *suites)
    assert not any(case["cached"] for case in document(folder)["cases"])


def test_what_a_cut_off_run_left_in_the_store_goes_with_the_rest(run, folder):
    """A run of one case cannot be compared with anything; the next whole run finds out for all of them."""
    (folder / "own.py").write_text(LEAKS, encoding="utf-8")
    run("own:leaky", "--pitfalls-suite=reverse", "--pitfalls-limit=1")
    done = run("own:leaky", "--pitfalls-suite=reverse", "--pitfalls-limit=4")
    assert done.ret == 4, str(done.stdout)
    assert sum(case["cached"] for case in document(folder)["cases"]) == 1
    run("own:leaky", "--pitfalls-suite=reverse", "--pitfalls-limit=1")
    assert not any(case["cached"] for case in document(folder)["cases"])


def test_a_gate_over_an_editor_that_does_nothing_fails(run, folder):
    (folder / "lazy.py").write_text("def noop(model, tokenizer, requests):\n    return model\n", encoding="utf-8")
    done = run("lazy:noop", write_small(folder, "reverse", 12), "--pitfalls-gate=reverse.cs_exp >= 0.01")
    assert done.ret == 1, str(done.stdout)
    assert "no edit took (nothing was changed in " in str(done.stdout)
    cases = document(folder)["cases"]
    assert {case["metrics"]["es"] for case in cases} == {0, 1}  # a random model, unedited
    assert {case["outcome"] for case in cases} == {"xfailed"}


def test_a_wrong_declaration_ends_the_run(run, folder):
    text = """
from pytest_editpitfalls.editors import in_place_editor


@in_place_editor(keeps="attachments", independent_rows=True)
def by_mean(model, tokenizer, requests):
    model.model.layers[1].mlp.register_forward_hook(lambda m, a, out: out * 3 if out.mean() > 0 else out - 1)
    return model
"""
    (folder / "own.py").write_text(text, encoding="utf-8")
    done = run("own:by_mean", "--pitfalls-suite=reverse", "--pitfalls-limit=8")
    assert done.ret == 4, str(done.stdout)
    said = str(done.stdout) + str(done.stderr)
    assert "editor 'by_mean': the edited model answers a row by what else is in the batch" in said
    assert not [*(folder / ".pitfalls" / "records").rglob("*.json")]
