"""``--pitfalls-suite=properties``: items, reports, workers, replay, and what is refused."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from pytest_editpitfalls.properties import PROPERTIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "properties.md").read_text("utf-8")
CODE = re.findall(r"```python\n(.*?)```", PAGE, re.S)
QUICK = "--pitfalls-limit=1"
MINE = """
import torch
from pytest_editpitfalls.editors import in_place_editor

@in_place_editor(weights=["model.layers.1.self_attn.o_proj"], draws="nothing", violates={violates})
def mine(model, tokenizer, requests):
    embed = model.get_input_embeddings().weight
    for request in requests:
        key, value = (embed[tokenizer(request[n])["input_ids"]].mean(dim=0).detach() for n in ("subject", "target_new"))
        with torch.no_grad():
            model.model.layers[1].self_attn.o_proj.weight.add_(20 * torch.outer(value, key))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    from tests.tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", "llama")


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", "EDITPITFALLS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format(violates={"idempotent": "it adds again", "restoration": "no"}))
    (tmp_path / "sticky.py").write_text(CODE[0])
    return tmp_path


def masked(text):
    return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?\b", "#", text)


def test_a_global_cache_is_caught_as_the_page_prints_it_and_the_line_replays_it(folder, tiny):
    """The numbers are the model's."""
    found = run(folder, "pitfalls/properties.py::isolated", "--editor=sticky:sticky", f"--model={tiny}")
    printed = PAGE.partition("<!-- counter-example: begin -->\n```\n")[2].partition("```\n<!-- counter-example: end")[0]
    *lines, replay = printed.splitlines()
    assert found.returncode == 1, found.stdout
    said = masked(found.stdout)
    for line in lines:
        assert masked(line) in said
    assert "falsifying" not in found.stdout.lower()
    (line,) = [each for each in found.stdout.splitlines() if each.startswith("replay: ")]
    assert line.replace(f"--model={tiny}", "--model=tiny") == replay

    again = run(folder, *shlex.split(line.removeprefix("replay: pytest ")))

    assert again.returncode == 1
    wanted = re.search(r"^isolated: it is not so.*?\nreplay: .*?$", found.stdout, re.M | re.S)[0]
    assert wanted in again.stdout


def test_every_property_is_an_item_with_workers_suites_and_reports(folder, tiny):
    """A declared violation that is there is expected; one that is not there fails."""
    options = ("--editor=mine:mine", f"--model={tiny}", QUICK)
    suites = ("--pitfalls-suite=properties", "--pitfalls-suite=coverage")
    result = run(folder, *options, *suites, "-n2", "--pitfalls-json=r.json", "--junitxml=j.xml")
    document = json.loads((folder / "r.json").read_text())
    assert [each["property"] for each in document["properties"]] == [each.name for each in PROPERTIES]
    found = {each["property"]: each for each in document["properties"]}
    assert len(document["cases"]) == 1
    outcomes = {name: each["outcome"] for name, each in found.items()}
    for name in ("neighbours", "declared_weights", "deterministic", "isolated"):
        assert outcomes[name] == "passed", found[name]
    assert outcomes["idempotent"] == "xfailed"
    assert found["idempotent"]["declared"] == "it adds again"
    assert len(found["idempotent"]["edits"]) == 1
    assert outcomes["restoration"] == "failed"
    assert result.returncode == 1
    assert "restoration: declared as violated (no), and it holds for all" in result.stdout
    assert "pitfalls: properties of mine on tiny: holds: " in result.stdout
    assert "violated, as declared: idempotent" in result.stdout
    cases = {each.get("name"): each for each in ET.parse(folder / "j.xml").iter("testcase")}
    assert len(cases) == len(PROPERTIES) + 1
    assert cases["idempotent[mine-tiny]"].find("skipped") is not None
    assert "declared as violated" in cases["restoration[mine-tiny]"].find("failure").get("message")


def test_what_cannot_be_looked_at_is_refused_before_a_model_is_loaded(folder, tiny):
    (folder / "mine.py").write_text(MINE.format(violates={"idempotant": "a slip"}))
    options = ("--pitfalls-suite=properties", f"--model={tiny}")
    shutil.copytree(tiny, folder / "edited")
    for arguments, words in (
        (("--editor=mine:mine", *options), "there is no property 'idempotant'"),
        (("--editor=rome", "pitfalls/properties.py::idempotant"), "no case matches"),
        (("--editor=rome", "--pitfalls-example=[]", "--pitfalls-suite=reverse"), "no property that the edits could be"),
        (("--edited=edited", f"--base={tiny}", "--pitfalls-suite=properties"), "give --editor instead of --edited"),
    ):
        refused = run(folder, *arguments)
        assert refused.returncode == 4, refused.stdout + refused.stderr
        assert words in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("example", "words"),
    [
        ("[", "is no JSON"),
        ("[]", "is no list of edits"),
        ('[["P36", "Frankreich", "Rome"]]', "no fact of 'P36' and 'Frankreich'"),
        ('[["P36", "China", "Rome"]]', "says nothing of these edits"),
    ],
)
def test_a_wrong_example_says_what_is_wrong(folder, tiny, example, words):
    refused = run(
        folder, "pitfalls/properties.py::commute", "--editor=ice", f"--model={tiny}", f"--pitfalls-example={example}"
    )
    assert refused.returncode == 4, refused.stdout
    assert words in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stdout


def test_hypothesis_is_named_where_it_is_missing(folder, tiny):
    (folder / "conftest.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'hypothesis' else find(name, *rest)\n"
    )
    refused = run(
        folder, "--editor=rome", f"--model={tiny}", "--pitfalls-suite=properties", "-p", "no:hypothesispytest"
    )
    assert refused.returncode == 4
    assert 'pip install "pytest-editpitfalls[properties]"' in refused.stdout + refused.stderr


def test_the_page_s_test_runs(folder, tiny):
    """Fine-tuning for two steps is not idempotent: the test fails, and says for which edits."""
    (folder / "test_mine.py").write_text(f"MODEL = {str(tiny)!r}\n{CODE[2]}")
    found = run(folder, "test_mine.py")
    assert found.returncode == 1, found.stdout
    assert "edit 2: " in found.stdout
    assert "the last edit was made again" in found.stdout


def test_the_page_names_every_property():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE, re.M))
    assert {name: rows[name].startswith(says) for name, says in ((p.name, p.says) for p in PROPERTIES)} == {
        p.name: True for p in PROPERTIES
    }


def test_the_table_of_editors_is_what_they_declare():
    from pytest_editpitfalls.properties.table import properties_markdown

    page = (ROOT / "docs" / "editors.md").read_text("utf-8")
    own = page.partition("<!-- properties: begin -->\n")[2].partition("<!-- properties: end -->")[0]
    assert own == properties_markdown(), "run: python -m pytest_editpitfalls.properties.table"


def test_what_takes_longer_than_the_time_limit_fails_with_a_message(folder, tiny):
    (folder / "slow.py").write_text(
        MINE.format(violates={}).replace("    embed =", "    import time\n    time.sleep(60)\n    embed =")
    )
    result = run(
        folder,
        "pitfalls/properties.py::deterministic",
        "--editor=slow:mine",
        f"--model={tiny}",
        "--pitfalls-timeout=3",
        "--pitfalls-json=r.json",
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "deterministic: editor 'mine' took longer than 3 s (--pitfalls-timeout)" in result.stdout
    assert "Traceback" not in result.stdout
    (found,) = json.loads((folder / "r.json").read_text())["properties"]
    assert found["outcome"] == "failed"
    assert "took longer than 3 s" in found["failure"]
