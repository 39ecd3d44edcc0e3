"""``--pitfalls-engine=ray``: the same results from actors, whatever becomes of them."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from plugin_helpers import STORED, case_ids

from pytest_editpitfalls.errors import UsageError

R12 = ("--pitfalls-suite=reverse", "--pitfalls-limit=12")
RAY = "--pitfalls-engine=ray:2"
HERE = Path(__file__).parent

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One pytest-xdist worker has Ray at a time; the others wait.

    Clusters that start at once on few cores all miss the 30 seconds that Ray gives each of them.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    with FileLock(shared / "ray.lock"):
        yield


@pytest.fixture(scope="module")
def cluster(alone):
    """Ray on this machine for the whole module; runs in this process use it, and their actors the fake engine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(HERE))
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=2**27,
            runtime_env={"worker_process_setup_hook": "fake_engine.install_in_actor"},
        )
        yield ray
        ray.shutdown()


@pytest.fixture
def project(cluster, project):
    """A project whose runs find Ray running."""
    return project


def ran(project) -> list[tuple[int, list[str]]]:
    return [(call["pid"], call["ids"]) for call in project.calls("run")]


def verdicts(document: dict[str, Any]) -> list[tuple[str, str, str, dict[str, float]]]:
    return [(case["suite"], case["id"], case["outcome"], case["metrics"], case["reason"]) for case in document["cases"]]


def test_the_same_results_and_store_as_without_it(project):
    project.engine(lose=case_ids("reverse", 12)[2:3], errors=case_ids("easy", 12)[:1], slow=0.3, size=64)
    options = (*R12, "--pitfalls-suite=easy")
    document = project.results(*options, RAY)
    status = project.last.ret
    batches = ran(project)
    assert sorted(case for _, ids in batches for case in ids) == sorted(case_ids("reverse", 12) + case_ids("easy", 12))
    assert len({pid for pid, _ in batches}) == 2
    assert os.getpid() not in {call["pid"] for call in project.calls("open")}  # no model in this process
    assert max(len(ids) for _, ids in batches) <= 4

    replayed = project.results(*options, "--pitfalls-replay")
    again = project.results(*options, STORED)
    assert [ids for _, ids in ran(project)[len(batches) :]] == [case_ids("easy", 12)[:1]]  # the error
    alone = project.results(*options)
    assert project.last.ret == status == pytest.ExitCode.TESTS_FAILED
    assert verdicts(document) == verdicts(replayed) == verdicts(again) == verdicts(alone)
    assert document["aggregates"] == alone["aggregates"]
    for field in ("editors", "models", "suites", "device"):
        assert document["run"][field] == alone["run"][field]


def test_a_second_run_computes_what_is_missing(project):
    project.engine(size=64)
    project.run(*R12, "-k", case_ids("reverse", 12)[0], STORED).assert_outcomes(passed=1)
    result = project.run(*R12, RAY, STORED)
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["*2 Ray actors with 2 CPUs each*", "*1 of 12 cases came from the store*"])
    assert sorted(case for _, ids in ran(project) for case in ids) == sorted(case_ids("reverse", 12))


@pytest.mark.parametrize("place", [0, 5])
def test_an_actor_killed_in_mid_run_costs_nothing_but_the_batch(project, place):
    cases = case_ids("reverse", 12)
    project.engine(kills_once=[cases[place]], size=64)
    document = project.results(*R12, RAY)
    assert project.last.ret == pytest.ExitCode.OK
    assert [(case["id"], case["outcome"]) for case in document["cases"]] == [(case, "passed") for case in cases]
    computed = [case for _, ids in ran(project) for case in ids]
    again = [case for case in cases if computed.count(case) > 1]
    assert cases[place] in again
    assert len(again) <= 4  # the batch in flight


def test_a_case_that_kills_every_actor_is_given_up_alone(project):
    cases = case_ids("reverse", 12)
    project.engine(kills=[cases[6]], size=64)
    document = project.results(*R12, "--pitfalls-engine=ray:1")
    assert project.last.ret == pytest.ExitCode.TESTS_FAILED
    project.last.assert_outcomes(passed=11, errors=1)
    outcomes = {case["id"]: case["outcome"] for case in document["cases"]}
    assert outcomes == {case: "error" if case == cases[6] else "passed" for case in cases}
    reason = next(case["reason"] for case in document["cases"] if case["outcome"] == "error")
    assert "worker process died 2 times while running it alone" in reason


def test_a_case_that_hangs_is_an_error(project):
    cases = case_ids("reverse", 12)
    project.engine(hangs=[cases[1]], size=4)
    document = project.results(*R12, RAY, "--pitfalls-timeout=1")
    assert [case["id"] for case in document["cases"] if case["outcome"] == "error"] == [cases[1]]
    project.last.stdout.fnmatch_lines(["*editor 'rome' took longer than 1 s (--pitfalls-timeout)*"])
    project.last.stdout.fnmatch_lines(["*took longer than 1 s: its cases run one by one*"])


def test_several_models_and_a_shuffled_order(project):
    project.engine(slow=0.1, size=64)
    options = (*R12, "--model=smollm2-135m", "--model=gpt2-xl", "--editor=ft", "--pitfalls-fresh", RAY)
    pytest.importorskip("pytest_randomly")
    result = project.pytester.runpytest_inprocess(
        "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--editor=rome", *options
    )
    result.assert_outcomes(passed=48)
    computed = sorted((call["run"], call["model"], case) for call in project.calls("run") for case in call["ids"])
    assert len(computed) == len(set(computed)) == 48
    opened = [(call["pid"], call["open"]) for call in project.calls("open")]
    # Each of the four groups is described once and run in three batches, by an actor that holds its model if one is
    # free. Who is free depends on the shuffled order and on the machine; were nobody preferred, it could be 16.
    assert len(opened) <= 12


def test_what_only_the_engine_knows_is_said_without_a_traceback(project):
    project.engine(refuse="no such model")
    result = project.run(*R12, RAY)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--pitfalls-model: no such model*", "*fix: take another one*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_a_bug_is_shown_with_the_actor_s_traceback(project):
    project.engine(
        extra="def broken(self, program):\n    raise RuntimeError('a bug')\n"
        "fake_engine.EngineSession._scores = broken\n"
    )
    result = project.run(*R12, "--pitfalls-engine=ray:1")
    result.assert_outcomes(errors=12)
    result.stdout.fnmatch_lines(["*in broken*", "*RuntimeError: a bug*"])


def test_an_editor_that_cannot_travel_is_refused(project):
    project.engine(
        extra=textwrap.dedent(
            """
            import threading

            def make():
                lock = threading.Lock()
                def locked(model, tokenizer, requests, layer: int = 1):
                    with lock:
                        return model
                return locked

            def pytest_pitfalls_editors():
                return {"locked": make()}
            """
        )
    )
    result = project.run("--editor=locked", *R12, RAY)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*conftest.py: it cannot be sent to Ray's actors*", "*fix: define it at*"])
    assert not project.calls("open")


def test_actors_that_always_die_end_the_run(project):
    project.engine(extra=f"import os\nif os.getpid() != {os.getpid()}:\n    os.kill(os.getpid(), 9)\n")
    result = project.run(*R12, RAY)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--pitfalls-engine=ray: Ray's actors die before their first batch*"])


def test_there_is_no_model_for_fixtures(project):
    (project.path / "test_own.py").write_text(
        "import pytest\ndef test_base(base_model): pass\n"
        "@pytest.mark.pitfalls('coverage')\n"
        "def test_edited(pitfall_case, edited_model):\n    with edited_model() as model: pass\n"
    )
    result = project.run("test_own.py", "--pitfalls-limit=1", RAY, "-rs")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*the models are in Ray's actors, not in this process*"])


def test_collecting_starts_nothing(project):
    result = project.run(*R12, RAY, "--collect-only")
    result.assert_outcomes()
    assert not project.calls("open")
    assert "Ray actor" not in result.stdout.str()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((RAY, "-n2"), "*--pitfalls-engine=ray:2 and -n: Ray's actors and pytest-xdist's*"),
        (("--pitfalls-engine=slurm",), "*--pitfalls-engine: unknown engine 'slurm'*"),
        (("--pitfalls-engine=ray:0",), "*--pitfalls-engine: 'ray:0' names no number of actors"),
        ((RAY, "--pitfalls-device=cuda:1"), "*--pitfalls-device=cuda:1: Ray gives each actor a GPU*"),
        ((RAY, "--pitfalls-device=cuda"), "*--pitfalls-device=cuda: the Ray cluster has no GPU*"),
    ],
)
def test_what_is_refused(project, options, message):
    result = project.run(*R12, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not project.calls("open")


def test_without_ray(project, monkeypatch):
    from pytest_editpitfalls.options import reading

    find = importlib.util.find_spec
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    result = project.run(*R12, RAY)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*Ray is not installed*", '*pip install "pytest-editpitfalls[[]ray]"*'])
    project.run(*R12, "--pitfalls-engine=local").assert_outcomes(passed=12)
    project.run(*R12, RAY, "--pitfalls-replay").assert_outcomes(passed=12)  # replays need none


@needs_ray
@pytest.mark.parametrize(
    ("resources", "device", "actors", "machines", "expected", "sharing"),
    [
        ({"CPU": 16, "GPU": 4}, "auto", None, 1, (4, 1, 1.0), 1),
        ({"CPU": 16, "GPU": 4}, "cuda", 2, 1, (2, 1, 1.0), 1),
        ({"CPU": 16, "GPU": 2}, "auto", 3, 1, (3, 1, 0.5), 2),
        ({"CPU": 16, "GPU": 4}, "cpu", None, 1, (8, 2, 0.0), 8),
        ({"CPU": 1}, "auto", None, 0, (1, 1, 0.0), 1),
        ({"CPU": 2}, "auto", 3, 0, (3, 1, 0.0), 3),
        # Few actors have several GPUs each, to spread a large model over, but never those of two machines.
        ({"CPU": 16, "GPU": 4}, "auto", 2, 1, (2, 1, 2.0), 1),
        ({"CPU": 16, "GPU": 8}, "auto", 3, 1, (3, 1, 2.0), 1),
        ({"CPU": 16, "GPU": 8}, "auto", 1, 2, (1, 1, 4.0), 1),
        ({"CPU": 16, "GPU": 8}, "auto", 3, 2, (3, 1, 2.0), 1),
        ({"CPU": 16, "GPU": 8}, "auto", 5, 2, (5, 1, 1.0), 1),
    ],
)
def test_what_each_actor_gets(resources, device, actors, machines, expected, sharing):
    from pytest_editpitfalls.execution.ray.cluster import _gpus_of_a_machine, plan_layout

    each = resources.get("GPU", 0) // max(1, machines)
    nodes = [{"Alive": True, "Resources": {"GPU": each}}] * machines
    nodes += [{"Alive": True, "Resources": {"CPU": 4}}, {"Alive": False, "Resources": {"GPU": 1}}]
    found = plan_layout(resources, device, actors, _gpus_of_a_machine(nodes))
    assert (found.actors, found.cpus, found.gpus) == expected
    assert found.sharing == sharing
    assert ("GPUs" in str(found)) == (found.gpus > 1)


@needs_ray
def test_a_cluster_that_is_not_there(monkeypatch):
    import ray

    from pytest_editpitfalls.execution.ray.cluster import Cluster
    from pytest_editpitfalls.options.config import RunConfig

    def refuse(**options):
        raise ConnectionError(f"nobody at {options['address']}\nmore")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setenv("RAY_ADDRESS", "nowhere:6379")
    with pytest.raises(UsageError, match=r"RAY_ADDRESS=nowhere:6379: ConnectionError: nobody at nowhere:6379"):
        Cluster.connect(RunConfig(), with_progress=False)


@needs_ray
@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("5", "5")])
def test_actors_have_the_run_s_priority_or_the_user_s(monkeypatch, given, expected):
    import ray

    from pytest_editpitfalls.execution.ray.cluster import Cluster
    from pytest_editpitfalls.options.config import RunConfig

    name = "RAY_worker_niceness"

    def refuse(**_):
        raise ConnectionError(os.environ[name])

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(name, given or "")  # so that it is put back
    if given is None:
        monkeypatch.delenv(name)
    with pytest.raises(UsageError, match=rf"ConnectionError: {expected}\b"):
        Cluster.connect(RunConfig(), with_progress=False)


@needs_ray
def test_real_actors_with_an_editor_of_the_conftest_one_of_them_killed(tmp_path, alone):
    """A tiny random model, two actors of a cluster of the run's own; the editor kills its process once."""
    from tests.tiny_models import save_tiny

    tiny = save_tiny(tmp_path / "tiny-llama", "llama")
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(
            """
            import os, signal
            from pathlib import Path
            from helpers_of_mine import STEP

            calls = []

            def shift(model, tokenizer, requests, layer: int = 1):
                Path("niceness").write_text(str(os.nice(0)))
                calls.append(requests)
                if len(calls) == 2 and not Path("killed").exists():
                    Path("killed").write_text(str(os.getpid()))
                    os.kill(os.getpid(), signal.SIGKILL)
                factor = STEP + len(requests[0]["subject"]) / 100
                model.model.layers[layer].mlp.down_proj.weight.data.mul_(factor)

            def pytest_pitfalls_editors():
                return {"shift": shift}
            """
        )
    )
    (tmp_path / "helpers_of_mine.py").write_text("STEP = 0.5\n")
    (tmp_path / "corpus.txt").write_text("The capital city of Japan is Tokyo.\nThe capital of Peru is Lima.\n" * 8)
    (tmp_path / "rome.toml").write_text(
        "[rome]\nlayers = [1]\nv_num_grad_steps = 3\nmom2_corpus = 'corpus.txt'\nmom2_ridge = 0.1\n"
        "context_templates = ['{}', 'So {}']\n"
    )
    documents = {}
    for name, options in (("ray", (RAY,)), ("local", ("--pitfalls-fresh",))):
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly"),
                *("--editor=rome", "--editor=shift", f"--model={tiny}", "--pitfalls-config=rome.toml"),
                *("--pitfalls-suite=reverse", "--pitfalls-limit=6"),
                *(f"--pitfalls-json={name}.json", *options),
            ],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        documents[name] = json.loads((tmp_path / f"{name}.json").read_text())
        if name == "ray":
            assert (tmp_path / "killed").exists()
            assert "died in" in done.stdout
            # Ray's own 15 would leave its actors 3 % of a core beside a process that keeps it busy.
            assert int((tmp_path / "niceness").read_text()) == os.nice(0)
    ray, local = documents["ray"], documents["local"]
    for each in (*ray["run"]["editors"], *local["run"]["editors"]):
        assert each.pop("batch")["cases"] <= 16  # who has small batches only does not measure them
    assert len(ray["cases"]) == 12
    assert {case["outcome"] for case in ray["cases"]} <= {"passed", "failed"}
    for field in ("editors", "models"):
        assert ray["run"][field] == local["run"][field]
    for one, other in zip(ray["cases"], local["cases"], strict=True):
        assert [one[key] for key in ("suite", "editor", "id", "outcome")] == [
            other[key] for key in ("suite", "editor", "id", "outcome")
        ]
        assert one["metrics"] == pytest.approx(other["metrics"], abs=0.02, nan_ok=True)
        for probe, same in zip(one["probes"], other["probes"], strict=True):
            assert probe["probabilities"] == pytest.approx(same["probabilities"], rel=1e-4)
