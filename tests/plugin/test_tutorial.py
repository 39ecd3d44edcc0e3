"""docs/tutorial.md: its commands are run on the embedded model, and print what it shows."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from walk_through import Command, steps, walk

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.skipif(not shutil.which("bash"), reason="the commands are for bash")
@pytest.mark.usefixtures("embedded_model")
def test_the_tutorial(tmp_path: Path) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)
    (tmp_path / "look.py").write_text(program, encoding="utf-8")
    walk(PAGE, tmp_path)
    assert (tmp_path / "copper.html").stat().st_size > 10_000


def test_the_tutorial_shows_what_it_claims() -> None:
    """A page without its key lines would pass any comparison with them."""
    commands = [step for step in steps(PAGE.read_text(encoding="utf-8")) if isinstance(step, Command)]
    assert len(commands) == 4
    shown = "\n".join("\n".join(step.shown) for step in commands)
    for line in (
        "cs_exp >= 1: failed",
        "0.598 .* what edit 1 writes",
        "exit status 1",
        "exit status 0",
        "P246-0001 failed",
    ):
        assert re.search(line.replace(" .* ", ".*"), shown), line
