"""`python -m benchmarks`: bad input is one message; documents and the page are written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from benchmarks import __main__ as command
from benchmarks import document
from benchmarks.part import Asked, Measured

from pytest_editpitfalls.errors import UsageError

ASKED = Asked(quick=True, device="cpu", model="tiny")
PAGE = """# Performance

Words before.

<!-- generated: fake -->
<!-- end of generated: fake -->

Words after.
"""


@pytest.fixture
def fake_part(monkeypatch: pytest.MonkeyPatch) -> list[Asked]:
    """A part called "fake" beside the real ones; returns what it was asked."""
    heard: list[Asked] = []

    def measure(asked: Asked) -> Measured:
        heard.append(asked)
        return Measured({"seconds": 1.5}, "## Fake\n\n| a | b |\n| --- | ---: |\n| x | 1 |\n", {"fake.wall": 2.0})

    module = ModuleType("benchmarks.fake")
    module.__dict__["measure"] = measure
    monkeypatch.setitem(sys.modules, "benchmarks.fake", module)
    monkeypatch.setitem(command.PARTS, "fake", "nothing")
    return heard


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["editting"], "did you mean 'editing'?"),
        (["editing", "--against", "nowhere"], "--against nowhere: no such directory"),
        (["editing", "--json", "nowhere/a.json"], "no such directory"),
    ],
)
def test_bad_input_is_one_message(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 4
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert "  fix: " in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["editing", "--device", "cuda"]) == 4
    assert "torch sees no CUDA device" in capsys.readouterr().err


def test_an_unknown_device_is_the_parsers_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--device", "tpu"])
    assert ended.value.code == 2
    assert "invalid choice: 'tpu'" in capsys.readouterr().err


def test_an_unknown_model_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["editing", "--quick", "--model", "smollm2-136m"]) == 4
    assert "unknown model 'smollm2-136m'" in capsys.readouterr().err


def test_a_run_writes_its_documents(fake_part: list[Asked], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    as_json, as_markdown = tmp_path / "a.json", tmp_path / "a.md"
    arguments = ["fake", "--quick", "--json", str(as_json), "--markdown", str(as_markdown), "--model", "tiny"]
    assert command.main(arguments) == 0
    assert fake_part == [ASKED]
    found = json.loads(as_json.read_text(encoding="utf-8"))
    assert found["parts"] == {"fake": {"seconds": 1.5}}
    assert found["ratios"] == {"fake.wall": 2.0}
    assert found["quick"] is True
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert found["matrix_gflop_per_second"]["square_float32"] > 0
    assert set(found["versions"]) == {"pytest-editpitfalls", "torch", "transformers", "python"}
    assert {"date", "commit", "format"} <= set(found)
    assert "## Fake" in as_markdown.read_text(encoding="utf-8")
    assert "fake.wall 2" in capsys.readouterr().out


def test_refreshing_the_page_twice_changes_nothing_and_leaves_the_words(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE, encoding="utf-8")
    made = document.Document(ASKED)
    made.measured["fake"] = Measured({"seconds": 1}, "## Fake\n\nTable\n")
    made.refresh(page)
    once = page.read_text(encoding="utf-8")
    made.refresh(page)
    assert page.read_text(encoding="utf-8") == once
    assert once.startswith("# Performance\n\nWords before.\n\n<!-- generated: fake -->\n\n## Fake\n\n*Measured ")
    assert once.endswith("Table\n\n<!-- end of generated: fake -->\n\nWords after.\n")


def test_a_skipped_part_does_not_replace_a_measured_one(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE, encoding="utf-8")
    made = document.Document(ASKED)
    for skipped, expected in (
        (True, "Not run here"),
        (False, "Table"),
        (True, "Table"),
    ):
        figures = {"skipped": "needs a GPU"} if skipped else {"seconds": 1}
        made.measured["fake"] = Measured(figures, f"## Fake\n\n{'Not run here' if skipped else 'Table'}\n")
        made.refresh(page)
        assert expected in page.read_text(encoding="utf-8")


def test_a_page_without_a_place_for_the_part() -> None:
    with pytest.raises(UsageError, match="no place for part 'fake'"):
        document.refreshed("# Performance\n", {"fake": "## Fake"})


def test_the_page_has_a_place_for_every_part() -> None:
    text = document.DOCS.read_text(encoding="utf-8")
    for name in command.PARTS:
        if name != "fake":
            document.generated(text, name)
