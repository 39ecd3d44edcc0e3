"""The commands of docs/build-suites.md, with fewer cases: what they build can be checked and run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "build-suites.md"


@pytest.fixture
def _embedded_model() -> None:
    from pytest_editpitfalls.engine.models.cache import cache_directory
    from pytest_editpitfalls.engine.models.embedded import embedded_gguf
    from pytest_editpitfalls.errors import UsageError

    try:
        embedded_gguf(cache_directory())
    except UsageError as error:
        pytest.skip(f"no embedded model: {error}")


def run(folder: Path, program: str, *words: str) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).parent / program
    return subprocess.run([str(beside), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=900)


@pytest.mark.usefixtures("_embedded_model")
def test_the_suites_of_the_page_are_built_checked_and_run(tmp_path: Path) -> None:
    (block,) = (
        block
        for block in re.findall(r"```\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
        if block.startswith("editpitfalls suites build")
    )
    build, test = map(shlex.split, block.splitlines())
    assert build[build.index("--cases") + 1] == "100"
    build[build.index("--cases") + 1] = "3"
    made = run(tmp_path, *build)
    assert made.returncode == 0, made.stderr
    assert "Written to my-suites" in made.stdout
    for name in ("reverse", "coverage"):
        checked = run(tmp_path, "editpitfalls", "suites", "check", f"my-suites/{name}.toml")
        assert checked.returncode == 0, checked.stdout
    ran = run(tmp_path, *test, "--collect-only", "-q")
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.count("::test_reverse[rome-smollm2-135m-") == 3
