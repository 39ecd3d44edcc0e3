"""The configuration as TOML: what is a number or a boolean there is one here, in both of pytest's tables."""

from __future__ import annotations

import pytest
from plugin_helpers import case_ids

NATIVE = tuple(int(part) for part in pytest.__version__.split(".")[:2]) >= (9, 0)
"""Whether pytest reads TOML tables with their own types: ``[tool.pytest]`` and ``pytest.toml``."""

KEYS = """
pitfalls_model = ["gpt2"]
pitfalls_suites = ["reverse"]
pitfalls_limit = 3
pitfalls_seed = 5
pitfalls_batch_size = {size}
pitfalls_success_floor = 0.5
pitfalls_timeout = 600
pitfalls_strict = true
pitfalls_device = "cpu"
pitfalls_set = ["rome.v_lr=0.2"]
pitfalls_gates = ["reverse.cs_exp >= 0.6"]
pitfalls_thresholds = ["reverse: cs_exp >= 1", "reverse: cm >= 0.2"]
pitfalls_fail_on = ["reverse.cs_exp:2pp"]
"""

TABLES = {
    "ini_options": ("pyproject.toml", "[tool.pytest.ini_options]"),
    "native": ("pyproject.toml", "[tool.pytest]"),
    "pytest.toml": ("pytest.toml", "[pytest]"),
}


@pytest.fixture(params=TABLES)
def write(request, project):
    """Write keys into one of the tables that pytest reads."""
    if request.param != "ini_options" and not NATIVE:
        pytest.skip("this pytest has no native TOML table")

    def written(keys: str) -> str:
        file, head = TABLES[request.param]
        (project.path / file).write_text(f"{head}\n{keys}")
        return request.param

    return written


@pytest.mark.parametrize("size", ["2", '"auto"'])
def test_every_key(project, write, size):
    write(KEYS.format(size=size))
    document = project.results()
    run = document["run"]
    assert (run["seed"], run["limit"], run["success_floor"]) == (5, 3, 0.5)
    assert run["batch_size"] == (2 if size == "2" else None)
    assert [case["id"] for case in document["cases"]] == case_ids("reverse", 3)
    assert project.calls("open")[0]["overrides"] == {"rome": {"v_lr": "0.2"}}
    assert project.calls("open")[0]["open"] == "gpt2"
    assert document["gates"][0]["gate"] == "reverse.cs_exp >= 0.6"
    assert project.last.ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("limit", "[3]", "this takes a number, not [[]3[]]"),
        ("limit", "3.5", "'3.5' is not a whole number"),
        ("limit", "0", "0 is less than 1"),
        ("limit", '"many"', "'many' is not a whole number"),
        ("seed", "-1", "-1 is not between 0 and 4294967295"),
        ("success_floor", "70", "'70' is not a fraction between 0 and 1"),
        ("timeout", "0", "'0' is no number of seconds"),
        ("gates", "[0.6]", "this takes a list of texts, not [[]0.6[]]"),
        ("strict", '"perhaps"', "this takes true or false, not 'perhaps'"),
        ("store", '["a"]', "this takes text, not [[]'a'[]]"),
    ],
)
def test_a_wrong_value(project, write, key, value, words):
    write(f"pitfalls_{key} = {value}\n")
    result = project.run("--pitfalls-suite=reverse")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *.toml, pitfalls_{key}: {words}", "  fix: *"])
    assert len(result.errlines) <= 3


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("limit", "true", "this takes a number, not True"),
        ("strict", "1", "this takes true or false, not 1"),
        ("strict", '"yes"', "this takes true or false, not 'yes'"),
        ("device", "0", "this takes text, not 0"),
        ("gates", '"reverse.cs_exp >= 1"', "this takes a list of texts, not 'reverse.cs_exp >= 1'"),
        ("model", '"gpt2"', "this takes a list of texts, not 'gpt2'"),
    ],
)
def test_a_type_that_only_a_native_table_has(project, write, key, value, words):
    if write(f"pitfalls_{key} = {value}\n") == "ini_options":
        pytest.skip("there it is text")
    result = project.run("--pitfalls-suite=reverse", *(("-n", "auto") if key == "device" else ()))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *.toml, pitfalls_{key}: {words}", f"  fix: for instance pitfalls_{key} = *"])


def test_without_an_editor_types_do_not_matter(project, write):
    write("pitfalls_limit = 3\npitfalls_gates = [0.6]\n")
    (project.path / "test_mine.py").write_text("def test_mine(): pass\n")
    result = project.run(editor=False)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["pitfalls: no editor is given: *pitfalls_limit, pitfalls_gates; *"])
