"""docs/tutorial.md and docs/notebook.ipynb are run on the embedded model, and print what they show."""

from __future__ import annotations

import copy
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from walk_through import Command, environment, missing, steps, walk

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "tutorial.md"
NOTEBOOK = nbformat.read(DOCS / "notebook.ipynb", nbformat.NO_CONVERT)


def printed(outputs: list[Any]) -> str:
    """What a cell has printed, its value, and what its picture is of."""
    shown = ""
    for each in outputs:
        if each.output_type == "stream":  # printed in pieces, which come as they are
            shown += each.text if each.name == "stdout" else ""
        else:
            shown += f"\n{each.data['text/plain']}\n"
    return shown


@pytest.mark.skipif(not shutil.which("bash"), reason="the commands are for bash")
@pytest.mark.usefixtures("embedded_model")
def test_the_tutorial_and_the_notebook(tmp_path: Path) -> None:
    """One behind the other: the notebook finds the tutorial's case in the store, so that it is edited once."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    (tmp_path / "look.py").write_text(program, encoding="utf-8")
    walk(PAGE, tmp_path)
    assert (tmp_path / "copper.html").stat().st_size > 10_000

    notebook = copy.deepcopy(NOTEBOOK)
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute(env=environment())
    for stored, cell in zip(NOTEBOOK.cells, notebook.cells, strict=True):
        shown = printed(stored.get("outputs", []))
        assert missing(tuple(shown.splitlines()), printed(cell.get("outputs", []))) == [], cell.source


def test_the_notebook_shows_what_it_claims() -> None:
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run from the top, once"
    shown = "\n".join(printed(cell.outputs) for cell in cells)
    for line in ("2 failed", "TESTS_FAILED", "rome  P246-0001 failed", "rome: 'The chemical symbol for silver is Hg."):
        assert line in shown
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)


def test_the_tutorial_shows_what_it_claims() -> None:
    """A page without its key lines would pass any comparison with them."""
    commands = [step for step in steps(PAGE.read_text(encoding="utf-8")) if isinstance(step, Command)]
    assert len(commands) == 4
    shown = "\n".join("\n".join(step.shown) for step in commands)
    for line in (
        "cs_exp >= 1: failed",
        "0.596 .* what edit 1 writes",
        "exit status 1",
        "exit status 0",
        "P246-0001 failed",
    ):
        assert re.search(line.replace(" .* ", ".*"), shown), line
