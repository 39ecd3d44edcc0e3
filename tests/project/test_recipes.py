"""The recipes of CONTRIBUTING.md, carried out on a copy of the package: what is added is found by being there.

Each test says how many files it touches besides documentation and its own tests: one, or the one folder.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
SAMPLE = TESTS / "sample_pitfall_package"


class Copy:
    """A copy of the package that a test changes, and commands that run with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.package = folder / "site" / "pytest_editpitfalls"
        shutil.copytree(
            ROOT / "src" / "pytest_editpitfalls", self.package, ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copytree(ROOT / "suites", self.package / "_suites")
        (folder / "conftest.py").write_text(
            f"import sys\nsys.path.insert(0, {str(TESTS / 'plugin')!r})\nimport fake_engine\nfake_engine.install()\n"
        )

    def write(self, name: str, text: str) -> None:
        path = self.package / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.package / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"'{old}' in {name}"
        self.write(name, text.replace(old, new))

    def run(self, *arguments: str, failing: bool = False) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.package.parent), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
        environment.pop("CI", None)
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
        assert done.returncode == failing, done.stdout + done.stderr
        return done.stdout

    def pytest(self, *arguments: str, failing: bool = False) -> str:
        options = ("-p", "no:cacheprovider", "--pitfalls-fresh")
        return self.run("-m", "pytest", *options, *arguments, failing=failing)


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_pitfall_is_one_module(copy: Copy) -> None:
    module = (SAMPLE / "bystanders" / "__init__.py").read_text(encoding="utf-8")
    copy.write("pitfalls/bystanders.py", module)
    shutil.copytree(SAMPLE / "suite", copy.folder / "suite")
    shown = copy.run(
        "-c", "from pytest_editpitfalls.pitfalls import PITFALLS; print(*(each.name for each in PITFALLS))"
    )
    assert shown.split()[-1] == "bystanders"
    summary = copy.pytest("--editor=rome", "--pitfalls-suite=suite/nearby.toml", "--pitfalls-gate=nearby.es >= 0")
    assert "Unharmed" in summary


EDITOR = {
    "__init__.py": """\"\"\"Nothing: an editor that writes nothing. Torch-free.\"\"\"

from pytest_editpitfalls.engine.editing.declaration import EditorDeclaration

DECLARATION = EditorDeclaration(
    name="nothing",
    order=200,
    title="Nothing",
    source="this test",
    form="low-rank",
    writes="nothing",
    hyperparameters=f"{__name__}.editor:NothingHyperparameters",
    factory=f"{__name__}.editor:Nothing",
)
""",
    "editor.py": """\"\"\"An editor that writes nothing.\"\"\"

from pytest_editpitfalls.editors import EditResult, Hyperparameters


class NothingHyperparameters(Hyperparameters):
    strength: float = 0.0


class Nothing:
    name = "nothing"

    def __init__(self, hyperparameters, resources):
        self.hyperparameters = hyperparameters

    def prepare(self, progress=None):
        pass

    def edit(self, jobs, progress=None):
        return [EditResult(job.model) for job in jobs]

    def describe(self):
        return {"hyperparameters": self.hyperparameters.model_dump()}
""",
}


def test_an_editor_is_one_folder(copy: Copy) -> None:
    from tests.tiny_models import save_tiny

    for name, text in EDITOR.items():
        copy.write(f"engine/editors/nothing/{name}", text)
    listed = json.loads(copy.run("-m", "pytest_editpitfalls.cli.app", "editors", "--json"))
    assert [row["name"] for row in listed][-1] == "nothing"
    (copy.folder / "conftest.py").unlink()  # the real engine
    model = save_tiny(copy.folder / "tiny-llama", "llama")
    options = ("--pitfalls-suite=coverage", "--pitfalls-limit=2", "--pitfalls-json=out.json")
    copy.pytest("--editor=nothing", f"--model={model}", *options, failing=True)
    cases = json.loads((copy.folder / "out.json").read_text(encoding="utf-8"))["cases"]
    assert len(cases) == 2
    for case in cases:
        old = {probe["state"]: probe["probabilities"] for probe in case["probes"] if probe["fact"] == "old"}
        assert old["1"] == old["12"], "nothing was written"


def test_a_family_is_one_row(copy: Copy) -> None:
    copy.replace(
        "engine/families.py",
        "FAMILIES: dict[str, FamilyDeclaration] = {\n",
        'FAMILIES: dict[str, FamilyDeclaration] = {\n    "stablelm": _like_llama("stablelm"),\n',
    )
    script = (
        "from transformers import AutoConfig, AutoModelForCausalLM\n"
        "from pytest_editpitfalls.engine.families import family_for\n"
        "config = AutoConfig.for_model('stablelm', hidden_size=32, intermediate_size=64, num_hidden_layers=2,\n"
        "    num_attention_heads=4, num_key_value_heads=4, vocab_size=99)\n"
        "model = AutoModelForCausalLM.from_config(config)\n"
        "family = family_for(config)\n"
        "block = model.get_submodule(family.blocks)[0]\n"
        "print(tuple(block.get_submodule(family.down_projection).weight.shape))\n"
    )
    assert copy.run("-c", script).strip().endswith("(32, 64)")


READER = '''"""Suites of coverage cases as comma-separated values: one line per case."""

import csv
from pathlib import Path

from pytest_editpitfalls.cases.case import Relation
from pytest_editpitfalls.pitfalls import Case, Edit
from pytest_editpitfalls.files import read_bounded
from pytest_editpitfalls.pitfalls.coverage import CoverageRow
from pytest_editpitfalls.suites.content import Reader, SuiteContent
from pytest_editpitfalls.suites.held import BaseFacts

CAPITAL = Relation("capital", "The capital of {} is", ("{} is governed from",))


def read(path: Path) -> SuiteContent:
    data = read_bounded(path)
    rows = []
    for number, (subject, old, middle, new) in enumerate(csv.reader(data.decode().splitlines())):
        edits = (Edit("capital", subject, old, middle), Edit("capital", subject, middle, new))
        rows.append(CoverageRow(id=f"csv-{number}", rule="capital", edits=edits))
    base = BaseFacts(fact for row in rows for fact in row.base_facts())
    cases = tuple(
        Case(path.stem, "coverage", str(path), index, row, (CAPITAL,), base.held(row.held_facts()))
        for index, row in enumerate(rows)
    )
    return SuiteContent(path.stem, "coverage", "csv", cases, None, "", "", (data,))


READER = Reader(suffix=".csv", what="a .csv file", read=read)
'''


def test_a_reader_is_one_module(copy: Copy) -> None:
    copy.write("suites/readers/csv_file.py", READER)
    (copy.folder / "towns.csv").write_text("France,Paris,Rome,Oslo\nJapan,Tokyo,Lima,Rome\n", encoding="utf-8")
    summary = copy.pytest("--editor=rome", "--pitfalls-suite=towns.csv", "--pitfalls-json=out.json")
    assert "towns" in summary
    document = json.loads((copy.folder / "out.json").read_text(encoding="utf-8"))
    assert document["run"]["suites"][0]["format"] == "csv"
    assert [case["id"] for case in document["cases"]] == ["csv-0", "csv-1"]


FACT_READER = '''"""Facts as lines "subject|relation|object"."""

from pytest_editpitfalls.knowledge.facts import BadFact, fact_from
from pytest_editpitfalls.knowledge.reading import FactReader

from ._text import lines_of


def read(path, reading):
    for number, line in lines_of(path, reading.progress):
        try:
            yield fact_from(dict(zip(("subject", "relation", "object"), line.split("|"))), f"{path.name}:{number}")
        except BadFact as error:
            reading.report.leave_out(str(error), f"{path.name}:{number}")


READER = FactReader(name="lines", suffixes=(".facts",), read=read)
'''


def test_a_format_of_facts_is_one_module(copy: Copy) -> None:
    copy.write("knowledge/readers/line_table.py", FACT_READER)
    (copy.folder / "mine.facts").write_bytes(gzip.compress(b"France|P36|Paris\n|P36|Oslo\n"))
    code = (
        "from pathlib import Path; from pytest_editpitfalls.knowledge import load_knowledge\n"
        "known = load_knowledge([Path('mine.facts')])\n"
        "print(known.is_true('P36', 'France', 'Paris'), *known.report.lines())"
    )
    assert copy.run("-c", code) == "True 1 record left out: subject is empty (first: mine.facts:2)\n"


REPORT = '''"""One line per case, comma-separated."""

from . import Format

FORMAT = Format("csv", "write one line per case to this file", f"{__name__}:write")


def write(results, path, where):
    from pytest_editpitfalls.outputs import write_text

    lines = [f"{case.suite},{case.id},{case.outcome}" for case in results.cases]
    write_text("\\n".join(lines) + "\\n", path, where=where)
'''


def test_a_report_is_one_module_with_its_option(copy: Copy) -> None:
    copy.write("reports/formats/csv.py", REPORT)
    assert "--pitfalls-csv=PATH" in copy.pytest("--help")
    copy.pytest("--editor=rome", "--pitfalls-suite=reverse", "--pitfalls-limit=2", "--pitfalls-csv=out.csv")
    lines = (copy.folder / "out.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    assert all(line.startswith("reverse,") and line.endswith(",passed") for line in lines)


ADAPTER = '''"""A list of stories, for somebody who asks for durations."""

from . import Adapter


def _add(case):
    with open("stories.txt", "a") as file:
        file.write(case.story + "\\n")


ADAPTER = Adapter("pytest", "durations", _add)
'''


def test_an_adapter_is_one_module(copy: Copy) -> None:
    copy.write("reports/adapters/stories.py", ADAPTER)
    copy.pytest("--editor=rome", "--pitfalls-suite=reverse", "--pitfalls-limit=2", "--durations=1")
    assert (copy.folder / "stories.txt").read_text().count("edit 1: ") == 2


def test_a_metric_is_written_in_the_module_of_its_kind(copy: Copy) -> None:
    name = "pitfalls/coverage.py"
    copy.replace(
        name,
        "        *conflict.CS_EXP,\n",
        "        *conflict.CS_EXP,\n"
        '        Metric("margin", "Margin", True, -1.0, 1.0, "p12(o3) - p12(o2)", "this test", _margin),\n',
    )
    copy.replace(name, 'columns = ("es", "ps", "cs_exp",', 'columns = ("es", "ps", "cs_exp", "margin",')
    copy.replace(
        name,
        "class Coverage(Pitfall[CoverageRow]):\n",
        'def _margin(p):\n    return p["new_exp", "12"] - p["old", "12"]\n\n\nclass Coverage(Pitfall[CoverageRow]):\n',
    )
    options = ("--pitfalls-suite=coverage", "--pitfalls-gate=coverage.margin >= 0.4", "--pitfalls-json=out.json")
    summary = copy.pytest("--editor=rome", *options, "--pitfalls-markdown=out.md")
    assert "gate coverage.margin >= 0.4" in summary
    assert "Margin" in (copy.folder / "out.md").read_text(encoding="utf-8")
    document = json.loads((copy.folder / "out.json").read_text(encoding="utf-8"))
    assert document["cases"][0]["metrics"]["margin"] == pytest.approx(0.5)
