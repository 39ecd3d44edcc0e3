"""What the plugin does not do, because it would cost: structure only, no clocks (`benchmarks/plugin.py` has those)."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import pytest
from plugin_helpers import case_ids

from pytest_editpitfalls import pitfalls
from pytest_editpitfalls.cases import digests
from pytest_editpitfalls.execution import case_runner
from pytest_editpitfalls.execution.case_runner import CaseRunner
from pytest_editpitfalls.execution.local import LocalExecutor
from pytest_editpitfalls.execution.result_cache import ResultCache
from pytest_editpitfalls.execution.selected_case import SelectedCase
from pytest_editpitfalls.garbage import held_back
from pytest_editpitfalls.results import build
from pytest_editpitfalls.session.recorder import Recorder
from pytest_editpitfalls.store import directory as files
from pytest_editpitfalls.store import stored_case as stored_records

ROOT = Path(__file__).parents[2]
ALONE = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_editpitfalls.plugin")


def modules_of(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> set[str]:
    """Return what is imported when pytest ends, run in a process of its own with no other plugin."""
    (folder / "tell.py").write_text(
        "import json, sys\n"
        "def pytest_unconfigure():\n"
        "    with open('modules.json', 'w') as file:\n"
        "        json.dump(sorted(sys.modules), file)\n"
    )
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    done = subprocess.run(
        [sys.executable, *ALONE, "-p", "tell", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads((folder / "modules.json").read_text()))


def test_an_unused_plugin_imports_next_to_nothing(tmp_path, monkeypatch):
    (tmp_path / "test_mine.py").write_text("def test_mine(): pass\n")
    loaded = modules_of(tmp_path, monkeypatch, "test_mine.py")
    ours = {name.partition(".")[2] for name in loaded if name.startswith("pytest_editpitfalls")}
    assert ours == {
        "",
        "errors",
        "escaping",
        "fixtures",
        "hookspecs",
        "options",
        "options.command_line",
        "options.defaults",
        "options.given",
        "plugin",
        "reports",
        "reports.formats",
        "reports.formats.html",
        "reports.formats.json",
        "reports.formats.markdown",
    }


def test_collecting_imports_no_model_and_no_report(tmp_path, monkeypatch):
    loaded = modules_of(tmp_path, monkeypatch, "--collect-only", "--pitfalls-editor=rome")
    assert "pytest_editpitfalls.suites.readers.own_format" in loaded
    assert not {"torch", "transformers", "numpy", "scipy", "rich", "jinja2", "yaml"} & loaded


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", "v_lr = 0.5"), ("a.json", '{"v_lr": 0.5}'), ("a.yaml", "v_lr: 5")]
)
def test_yaml_is_imported_for_a_yaml_file_alone(tmp_path, monkeypatch, name, text):
    (tmp_path / name).write_text(text if name != "a.toml" else f"[rome]\n{text}")
    loaded = modules_of(tmp_path, monkeypatch, "--collect-only", "--editor=rome", f"--pitfalls-config={name}")
    assert ("yaml" in loaded) == (name == "a.yaml")


def test_the_version_is_looked_up_when_it_is_asked_for():
    code = (
        "import sys, pytest_editpitfalls as package\n"
        "assert 'importlib.metadata' not in sys.modules\n"
        "assert package.__version__[0].isdigit()\n"
        "assert not hasattr(package, 'nothing')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_no_parser_is_built_for_a_run_without_an_editor(project, monkeypatch):
    """Each look for a free short form makes argparse build its parser."""
    from pytest_editpitfalls.options import command_line

    looked: list[str] = []
    real = command_line.free_of
    monkeypatch.setattr(command_line, "free_of", lambda parser, flags: looked.extend(flags) or real(parser, flags))
    (project.path / "test_mine.py").write_text("def test_mine(): pass\n")
    project.run(editor=False).assert_outcomes(passed=1)
    assert looked == []
    project.run("--collect-only", "--pitfalls-limit=1")
    assert looked != []


@pytest.mark.parametrize("option", ["--pitfalls-editor=rome", "--editor=rome"])
def test_a_short_form_of_somebody_else_is_found_with_either_form_of_the_editor(project, option):
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text() + "def pytest_addoption(parser):\n    parser.addoption('--model')\n")
    result = project.run(option, "--pitfalls-limit=1", "--pitfalls-suite=reverse", editor=False)
    result.stdout.fnmatch_lines(["*--model*belongs*"])


def test_each_case_is_looked_up_and_written_once(project, monkeypatch):
    """A suite is one batch that the engine takes in parts: what was looked up is not looked up again for each part."""
    asked: list[str] = []
    written: list[list[str]] = []
    lookup, put_all = ResultCache.lookup, files.Store.put_all

    def counting_lookup(self, case, suite):
        asked.append(case.case.id)
        return lookup(self, case, suite)

    def counting_put_all(self, records):
        written.append([record.case_id for record in records])
        return put_all(self, records)

    monkeypatch.setattr(ResultCache, "lookup", counting_lookup)
    monkeypatch.setattr(files.Store, "put_all", counting_put_all)
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=10", "stored").assert_outcomes(passed=10)
    assert len(asked) == len(set(asked)) == 10
    assert [case for batch in written for case in batch] == asked
    assert len(written) == 3  # the fake engine takes four at once
    asked.clear(), written.clear()
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=10", "stored").assert_outcomes(passed=10)
    assert len(asked) == 10
    assert written == []


def test_metrics_are_computed_once_a_case(project, monkeypatch):
    """Store, verdict and record share them."""
    asked: list[str] = []
    real = pitfalls.compute_metrics

    def counting(kind, scores):
        asked.append(kind)
        return real(kind, scores)

    for module in (case_runner, build, stored_records):
        monkeypatch.setattr(module, "compute_metrics", counting)
    options = ("--pitfalls-suite=reverse", "--pitfalls-limit=6", "stored")
    project.run(*options).assert_outcomes(passed=6)
    assert len(asked) == 6
    project.run(*options).assert_outcomes(passed=6)  # from the store
    assert len(asked) == 12


def test_the_engine_is_described_once_a_batch_and_reported_when_it_changes(project, monkeypatch):
    described: list[str] = []
    reported: list[bool] = []
    describe, add = LocalExecutor.describe, Recorder.add

    def counting_describe(self, editor, model, *more):
        described.append(editor)
        return describe(self, editor, model, *more)

    def watching_add(self, report, **how):
        reported.append(report.engine is not None)
        add(self, report, **how)

    monkeypatch.setattr(LocalExecutor, "describe", counting_describe)
    monkeypatch.setattr(Recorder, "add", watching_add)
    project.engine(halved_after=2)
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=16").assert_outcomes(passed=16)
    batches = [len(call["ids"]) for call in project.calls("run")]
    assert batches == [4, 4, 2, 2, 2, 2]
    assert len(described) == 2 + len(batches)  # before the first test, before the first batch, after each
    assert [place for place, engine in enumerate(reported) if engine] == [0, 4]  # the second batch halved it


def test_batches_behind_the_first_are_filled_with_cases_of_the_next_suites(project):
    project.run("--pitfalls-suite=default", "--pitfalls-limit=3").assert_outcomes(passed=15)
    calls = [call["ids"] for call in project.calls("run")]
    assert [len(ids) for ids in calls] == [3, 4, 4, 4]  # the fake engine takes four at once
    cases = project.results("--pitfalls-suite=default", "--pitfalls-limit=3", "stored")["cases"]
    assert [each["cached"] for each in cases] == [True] * 15
    assert sorted(id for ids in calls for id in ids) == sorted(each["id"] for each in cases)
    assert len(project.calls("run")) == 4


def test_a_kind_that_raises_in_one_suite_stops_no_other(project, monkeypatch):
    """A batch is filled with cases of the next suites, whose programs are made for that."""

    compiled = SelectedCase.program

    def program(case):
        if case.case.kind == "composite":
            raise ZeroDivisionError("no program")
        return compiled(case)

    monkeypatch.setattr(SelectedCase, "program", program)
    names = ("reverse", "composite", "easy")
    result = project.run(*(f"--pitfalls-suite={name}" for name in names), "--pitfalls-limit=3")
    result.assert_outcomes(passed=6, errors=3)


def test_cases_that_no_test_waits_for_are_not_computed(project):
    (project.path / "test_own.py").write_text(
        "import pytest\n@pytest.mark.pitfalls('easy')\ndef test_one(pitfall_case): assert pitfall_case.id\n"
    )
    project.run("test_own.py", "--pitfalls-suite=reverse", "--pitfalls-suite=composite", "--pitfalls-limit=3")
    ran = {id for call in project.calls("run") for id in call["ids"]}
    assert ran == {*case_ids("reverse", 3), *case_ids("composite", 3)}


def test_a_batch_is_not_filled_by_reading_the_whole_store(project, monkeypatch):
    stored = [project.whole(name, 10) for name in ("easy", "hard", "coverage")]
    project.run(*stored).assert_outcomes(passed=30)
    looked, for_filling = [], []
    lookup, filled = ResultCache.lookup, CaseRunner._filled

    def counted(self, job):
        before, found = len(looked), filled(self, job)
        for_filling.append(len(looked) - before)
        return found

    monkeypatch.setattr(ResultCache, "lookup", lambda self, *case: looked.append(case) or lookup(self, *case))
    monkeypatch.setattr(CaseRunner, "_filled", counted)
    new = ("--pitfalls-suite=reverse", "--pitfalls-suite=composite")
    project.run(*new, *stored, "--pitfalls-limit=10", "stored").assert_outcomes(passed=50)
    assert 0 < max(for_filling) <= 8  # the fake engine takes four at once
    assert len(looked) == 50


def test_editors_share_no_batch(project):
    options = (
        "--editor=rome",
        "--editor=memit",
        "--pitfalls-suite=reverse",
        "--pitfalls-suite=easy",
        "--pitfalls-limit=2",
    )
    project.run(*options).assert_outcomes(passed=8)
    runs = [(call["run"], len(call["ids"])) for call in project.calls("run")]
    assert runs == [("rome", 2), ("memit", 4), ("rome", 2)]


def test_workers_run_no_cases_of_other_batches(project):
    project.run("--pitfalls-suite=default", "--pitfalls-limit=3", "-n2").assert_outcomes(passed=15)
    assert [len(call["ids"]) for call in project.calls("run")] == [3] * 5


def test_no_digest_is_computed_at_collection(project, monkeypatch):
    def refuse(value):
        raise AssertionError("a digest at collection")

    monkeypatch.setattr(digests, "digest_of", refuse)
    assert len(project.ids("--pitfalls-suite=reverse", "--pitfalls-limit=10")) == 10


def test_the_garbage_collector_is_as_it_was_after_a_run(project):
    assert gc.isenabled()
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=1").assert_outcomes(passed=1)
    assert gc.isenabled()
    gc.disable()
    try:
        with held_back():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(KeyError), held_back():
        raise KeyError
    assert gc.isenabled()


def test_a_run_says_where_the_time_to_its_first_result_went(project):
    result = project.results("--pitfalls-suite=reverse", "--pitfalls-limit=2")
    first = result["run"]["first_result"]
    assert list(first) == ["total", "collection", "imports", "load", "prepare rome", "first batch"]
    assert first["load"] == 0.25
    assert first["prepare rome"] == 0.5
    assert first["first batch"] == pytest.approx(0.02)
    project.last.stdout.fnmatch_lines(["first result after *: collection *, load 0.2 s, prepare rome 0.5 s*"])


def test_stored_results_say_no_first_batch(project):
    project.run("--pitfalls-suite=reverse", "--pitfalls-limit=2", "stored")
    first = project.results("--pitfalls-suite=reverse", "--pitfalls-limit=2", "stored")["run"]["first_result"]
    assert "total" in first
    assert "first batch" not in first
