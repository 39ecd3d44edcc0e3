"""Options, ini keys and everything that a command line can get wrong."""

from __future__ import annotations

import fnmatch

import pytest
from plugin_helpers import case_ids

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.options.config import model_labels
from pytest_editpitfalls.options.editor_settings import parse_overrides

R1 = ("--pitfalls-suite=reverse", "--pitfalls-limit=1")


def test_overrides_split_at_the_last_dot_before_the_equals_sign():
    entries = ["rome.v_lr=0.1", "my.editor.key=a.b=c", "rome.v_lr = 0.2", "rome.layers=[5]"]
    assert parse_overrides(entries) == {
        "rome": {"v_lr": "0.2", "layers": "[5]"},
        "my.editor": {"key": "a.b=c"},
    }


@pytest.mark.parametrize("entry", ["rome", "rome=1", "rome.=1", ".v_lr=1", "=", ""])
def test_wrong_overrides(entry):
    with pytest.raises(UsageError, match=r"EDITOR\.KEY=VALUE"):
        parse_overrides([entry])


def test_model_labels_fit_into_node_ids():
    assert model_labels(["gpt2-xl", "openai/gpt2-xl", "/data/my model[1]/", "a\\b.GGUF", "::"]) == {
        "gpt2-xl": "gpt2-xl",
        "openai/gpt2-xl": "gpt2-xl-2",
        "/data/my model[1]/": "my-model-1",
        "a\\b.GGUF": "b",
        "::": "model",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pitfalls-editor=rom"], "--pitfalls-editor: unknown editor 'rom'*did you mean 'rome'*"),
        (["--model=smollm2-135"], "--model: unknown model 'smollm2-135'*did you mean 'smollm2-135m'*"),
        (["--pitfalls-suite=revers"], "--pitfalls-suite: unknown suite 'revers'*did you mean 'reverse'*"),
        (["--pitfalls-suite=no/such.json"], "*no/such.json*"),
        (
            ["--pitfalls-editor=memit+mel"],
            "--pitfalls-editor: unknown suffix '+mel'*did you mean 'memit+mle'*",
        ),
        (["--pitfalls-editor=memti+mle"], "--pitfalls-editor: unknown editor 'memti'*did you mean 'memit'*"),
        (["--pitfalls-editor=memit+mle+mle"], "--pitfalls-editor: unknown suffix*'memit+mle', once*"),
        (["--pitfalls-set=memit+mle.layers=1"], "--pitfalls-set: 'memit+mle' has no *set those of 'memit'*"),
        (["--pitfalls-config=multi.toml"], "*multi.toml: 'memit+mle' has no *set those of 'memit'*"),
        (
            ["--pitfalls-success-floor=70"],
            "--pitfalls-success-floor: '70' is not a fraction*write 0.7, not 70*",
        ),
        (["--pitfalls-success-floor=nan"], "--pitfalls-success-floor: 'nan' is not a fraction*"),
        (["--pitfalls-success-floor=-0.1"], "--pitfalls-success-floor: '-0.1' is not a fraction*"),
        (["--pitfalls-success-floor="], "--pitfalls-success-floor: the value is empty*"),
        (["-o", "pitfalls_success_floor=most"], "-o pitfalls_success_floor: 'most' is not a fraction*"),
        (["--pitfalls-limit=0"], "--pitfalls-limit: 0 is less than 1*"),
        (["--pitfalls-limit=many"], "--pitfalls-limit: 'many' is not a whole number*"),
        (["--pitfalls-batch-size=big"], "--pitfalls-batch-size: 'big' is not a whole number*"),
        (["--pitfalls-batch-size=-1"], "--pitfalls-batch-size: -1 is less than 1*"),
        (["--pitfalls-seed=x"], "--pitfalls-seed: 'x' is not a whole number*"),
        (["--pitfalls-seed=-1"], "--pitfalls-seed: -1 is not between 0 and 4294967295*"),
        (["--pitfalls-seed=4294967296"], "--pitfalls-seed: 4294967296 is not between 0 and 4294967295*"),
        (["--model="], "--pitfalls-model: the value is empty*"),
        (["--editor="], "--pitfalls-editor: the value is empty*"),
        (["--pitfalls-model=gpt2", "--pitfalls-model= "], "--pitfalls-model: the value is empty*"),
        (["--pitfalls-json="], "--pitfalls-json: the value is empty*"),
        (
            ["--pitfalls-json=~nobody9/o.json"],
            "--pitfalls-json: the home directory in '~nobody9/o.json' is unknown*",
        ),
        (["--pitfalls-config=~nobody9/c.toml"], "--pitfalls-config: the home directory in *"),
        (["--pitfalls-suite=~nobody9/s.toml"], "--pitfalls-suite: the home directory in *"),
        (["--model=~nobody9/model"], "--pitfalls-model: the home directory in *"),
        (["-o", "pitfalls_model=~nobody9/model"], "the ini key pitfalls_model: the home directory in *"),
        (
            ["-o", "pitfalls_config=nope.toml"],
            "*nope.toml: no such file*path of the ini key pitfalls_config*",
        ),
        (["--pitfalls-device=gpu"], "--pitfalls-device: unknown device 'gpu'*"),
        (["--pitfalls-dtype=float31"], "--pitfalls-dtype: unknown dtype 'float31'*did you mean*"),
        (
            ["--pitfalls-dtype=tf32", "--pitfalls-device=cpu"],
            "--pitfalls-dtype=tf32: 'cpu' does not multiply in TF32*fix: --pitfalls-dtype=float32*",
        ),
        (
            ["--pitfalls-editor=mine=mine:edit", "--pitfalls-dtype=bf16-weights"],
            "--pitfalls-dtype=bf16-weights: 'mine' edits in place*fix: --pitfalls-dtype=float32*",
        ),
        (["--pitfalls-set=rome"], "--pitfalls-set: 'rome' is not EDITOR.KEY=VALUE*"),
        (["--pitfalls-set=rom.v_lr=1"], "--pitfalls-set: unknown editor 'rom'*"),
        (["--pitfalls-config=none.toml"], "*none.toml: no such file*"),
        (["--pitfalls-config=broken.toml"], "*broken.toml: not valid TOML*line 1*"),
        (["--pitfalls-config=flat.toml"], "*flat.toml: 'v_lr' stands outside of any table*"),
        (["--pitfalls-config=other.toml"], "*other.toml: unknown editor 'rom'*"),
        (["--pitfalls-json=no/such/dir/out.json"], "--pitfalls-json: the directory*does not exist*"),
        (["--pitfalls-json=."], "--pitfalls-json:*is a directory*"),
        (["--pitfalls-gate=reverse.cs_ex >= 1"], "*unknown metric 'cs_ex'*did you mean 'cs_exp'*"),
        (["--pitfalls-gate=revers.cs_exp >= 1"], "*unknown suite 'revers'*did you mean 'reverse'*"),
        (["--pitfalls-gate=reverse.cs_exp >= 60"], "*fractions: write 0.6, not 60*"),
        (["--pitfalls-gate=nonsense"], "*'nonsense' is no threshold*"),
        (["-o", "pitfalls_thresholds=reverse: fr <= 0"], "*pitfalls_thresholds*has no metric 'fr'*"),
        (["-o", "pitfalls_thresholds=cs_exp >= 1"], "*pitfalls_thresholds*names no suite*"),
        (["pitfalls/none.py::test_none"], "*no suite is called 'none'*"),
    ],
    ids=lambda value: value[0].partition("=")[0] + value[0][-8:] if isinstance(value, list) else "",
)
def test_bad_input_is_one_message_and_exit_4(project, arguments, message):
    (project.path / "mine.py").write_text("def edit(model, tokenizer, requests): ...\n")
    (project.path / "broken.toml").write_text("[rome\n")
    (project.path / "flat.toml").write_text("v_lr = 1\n")
    (project.path / "other.toml").write_text("[rom]\nv_lr = 1\n")
    (project.path / "multi.toml").write_text('["memit+mle"]\nv_lr = 1\n')
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stderr.str()
    assert fnmatch.fnmatchcase(text, f"ERROR: {message}*"), text
    assert text.count("ERROR:") == 1
    assert "  fix: " in text
    assert "Traceback" not in text + result.stdout.str()
    assert not project.calls("open")


def test_a_broken_suite_file(project):
    (project.path / "mine.toml").write_text('format = 1\nname = "mine"\nkind = "revers"\n')
    result = project.run("--pitfalls-suite=mine.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *mine.toml*"])


def test_ini_keys_reach_the_engine(project):
    (project.path / "sub").mkdir()
    (project.path / "sub" / "c.toml").write_text("[rome]\nv_lr = 0.1\n")
    project.pytester.makeini(
        "[pytest]\npitfalls_model = gpt2\npitfalls_seed = 5\npitfalls_batch_size = 1\npitfalls_limit = 2\n"
        "pitfalls_suites = reverse\npitfalls_set =\n  rome.v_lr=0.2\n  rome.kl_factor=0\n"
        "pitfalls_config = sub/c.toml\npitfalls_device = cpu\npitfalls_dtype = float32\n"
    )
    project.run("--pitfalls-set=rome.v_lr=0.3").assert_outcomes(passed=2)
    call = project.calls("open")[0]
    assert call["open"] == "gpt2"
    assert call["seed"] == 5
    assert call["overrides"] == {"rome": {"v_lr": "0.3", "kl_factor": "0"}}
    assert [len(call["ids"]) for call in project.calls("run")] == [1, 1]


def test_command_line_wins_over_ini(project):
    project.pytester.makeini("[pytest]\npitfalls_model = gpt2\npitfalls_limit = 2\npitfalls_suites = easy\n")
    assert project.ids("--model=gpt2-xl", *R1) == [
        f"pitfalls/reverse.py::test_reverse[rome-gpt2-xl-{case_ids('reverse', 1)[0]}]"
    ]


def test_options_of_addopts(project):
    project.pytester.makeini(
        f"[pytest]\naddopts = --editor=rome {project.whole('reverse', 1)}\npitfalls_gates = reverse.cs_exp >= 0.5\n"
    )
    result = project.run(editor=False)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gate reverse.cs_exp >= 0.5*passed*"])


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
def test_a_conftest_that_owns_model(project, workers):
    project.engine(extra="def pytest_addoption(parser):\n    parser.addoption('--model', default='theirs')\n")
    (project.path / "test_mine.py").write_text(
        "def test_mine(request):\n    assert request.config.getoption('--model') == 'his'\n"
    )
    result = project.run("--model=his", "test_mine.py", *R1, *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["pitfalls: --model belongs to another plugin or conftest here; use --pitfalls-model"])
    assert project.calls("open")[0]["open"] == "smollm2-135m"
    plain = project.run("--model=his", "test_mine.py", *workers, editor=False)
    plain.assert_outcomes(passed=1)
    plain.stdout.no_fnmatch_line("pitfalls: *")


def test_the_rerun_command_avoids_a_short_form_that_is_taken(project):
    project.engine(
        lose=case_ids("reverse", 1),
        extra="def pytest_addoption(parser):\n    parser.addoption('--editor')\n    parser.addoption('--model')\n",
    )
    result = project.run("--pitfalls-editor=rome", "--pitfalls-model=gpt2", *R1, editor=False)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["  pytest 'pitfalls/*' --pitfalls-editor=rome --pitfalls-model=gpt2"])


def test_a_conftest_found_late_may_own_model(project):
    below = project.path / "tests" / "below"
    below.mkdir(parents=True)
    (below / "conftest.py").write_text("def pytest_addoption(parser):\n    parser.addoption('--model')\n")
    (below / "test_mine.py").write_text("def test_mine(): pass\n")
    project.run(editor=False).assert_outcomes(passed=1)
    project.run("tests", *R1).assert_outcomes(passed=2)


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["plain", "n2"])
def test_short_forms_may_be_given_several_times(project, workers):
    ids = project.ids("--model=gpt2", "--model=gpt2-xl", "--editor=rome", *R1)
    assert len(ids) == 2
    project.run("--model=gpt2", "--model=gpt2-xl", *R1, *workers).assert_outcomes(passed=2)


def test_help_lists_everything(project):
    text = project.run("--help", editor=False).stdout.str()
    for flag in (
        "--editor",
        "--model",
        "--pitfalls-json",
        "--pitfalls-gate",
        "pitfalls_gates",
        "pitfalls_suites",
    ):
        assert flag in text


def test_an_empty_editor_alone_is_an_error(project):
    result = project.run("--editor=", editor=False)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pitfalls-editor: the value is empty"])


def test_model_paths_of_ini_start_at_the_ini_file(project, monkeypatch):
    for folder in ("mine", "gpt2", "below"):
        (project.path / folder).mkdir()
        (project.path / folder / "config.json").write_text("{}")
    (project.path / "pytest.ini").write_text("[pytest]\npitfalls_model = ./mine mine gpt2\n")
    monkeypatch.chdir(project.path / "below")
    document = project.results(*R1, "--rootdir=..", "-c../pytest.ini", "--pitfalls-json=../out.json")
    assert [model["source"] for model in document["run"]["models"]] == [str(project.path / "mine"), "gpt2"]
