"""The documentation's site: every page has a place, links lead somewhere, no release is named that is not there."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOB = "https://github.com/pytest-editpitfalls/pytest-editpitfalls/blob/main/"


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml; of its Python objects there is nothing to know here."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
CONFIG: dict[str, Any] = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)


@pytest.fixture(scope="module")
def hooks() -> Any:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / ".ci" / "site_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    values = nav.values() if isinstance(nav, dict) else nav
    return [page for value in values for page in pages(value)]


def test_every_page_has_one_place_in_the_navigation_and_on_the_first_page() -> None:
    there = {path.name for path in DOCS.glob("*.md")} | {path.name for path in DOCS.glob("*.ipynb")}
    placed = pages(CONFIG["nav"])
    assert sorted(placed) == sorted(name.replace(".ipynb", ".md") for name in there)
    assert placed[:3] == ["index.md", "tutorial.md", "notebook.md"]
    linked = set(re.findall(r"\]\(([\w-]+\.(?:md|ipynb))\b", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert there - linked == {"index.md"}


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert CONFIG["theme"]["font"] is False
    assert not {"extra_javascript", "repo_url"} & CONFIG.keys()
    assert all((DOCS / sheet).exists() for sheet in CONFIG["extra_css"])
    assert not re.search(r"@import|url\(", "".join((DOCS / sheet).read_text() for sheet in CONFIG["extra_css"]))
    assert CONFIG["strict"] is True


def test_links_out_of_docs_lead_to_the_repository(hooks: Any, caplog: pytest.LogCaptureFixture) -> None:
    text = (
        "[a](../suites/datasheet.md) [b](../examples/audited-checkpoint) [c](../README.md#models) "
        "[d](gates.md) [e](../x)"
    )
    with caplog.at_level(logging.WARNING):
        made = hooks.with_links_to_the_repository(text, "index.md")
    assert f"[a]({BLOB}suites/datasheet.md)" in made
    assert f"[b]({BLOB.replace('blob', 'tree')}examples/audited-checkpoint)" in made
    assert f"[c]({BLOB}README.md#models)" in made
    assert "[d](gates.md)" in made
    assert [record.getMessage() for record in caplog.records] == ["index.md: ../x does not exist"]


def test_the_api_page_gets_the_docstrings(hooks: Any) -> None:
    page = hooks.with_docstrings((DOCS / "api.md").read_text(encoding="utf-8"))
    assert len(re.findall(r"(?m)^::: pytest_editpitfalls\.\w+$", page)) == 6


def test_a_notebook_is_a_page_with_its_outputs(hooks: Any) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Words."]},
        {
            "cell_type": "code",
            "source": ["1 + 1"],
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["printed\n"]},
                {"output_type": "display_data", "data": {"image/png": "aGVsbG8=", "text/plain": ["<Figure>"]}},
                {"output_type": "execute_result", "data": {"text/plain": ["2"]}},
            ],
        },
    ]
    page, pictures = hooks.page_of_notebook("name", {"cells": cells})
    assert page.split("\n\n") == [
        "# Title\nWords.",
        "[Download the notebook](name.ipynb)",
        "```python\n1 + 1\n```",
        "```text\nprinted\n```",
        "![What the cell above draws](images/name-1.png)",
        "```text\n2\n```\n",
    ]
    assert pictures == {"images/name-1.png": b"hello"}


def test_what_the_site_would_show_otherwise_is_found(hooks: Any) -> None:
    """Python-Markdown wants four spaces where GitHub is content with two."""
    on_github = hooks.counts_on_github("- a\n\n  ```\n  b\n  ```\n\n| c |\n|---|\n| d |\n")
    assert on_github == {"li": 1, "pre": 1, "table": 1, "tr": 2}
    assert hooks.counts_on_the_site("<ul><li>a</li></ul><p><code>b</code></p>") == {"li": 1}


@pytest.mark.parametrize(
    "page", ["README.md", *sorted(f"docs/{path.name}" for each in ("*.md", "*.ipynb") for path in DOCS.glob(each))]
)
def test_links_lead_to_files(page: str) -> None:
    """On GitHub and, for the README, on PyPI, which knows no other file: there they are absolute."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.endswith(".ipynb"):
        text = "\n".join(
            "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
        )
    text = re.sub(r"(?ms)^```.*?^```", "", text)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path = link.partition("#")[0]
        for absolute in (BLOB, BLOB.replace("blob", "tree")):
            if path.startswith(absolute):
                assert (ROOT / path.removeprefix(absolute)).exists(), link
        if path and "://" not in path:
            assert page != "README.md", f"{link}: PyPI has no such file"
            assert (DOCS / path).exists(), link


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_rows_stand_in_tables(page: str) -> None:
    """A row behind an empty line, or one that goes on in the next line, is shown as text with bars."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", (ROOT / page).read_text(encoding="utf-8"))
    for block in re.findall(r"(?m)(?:^\|.*\n?)+", text):
        rows = block.splitlines()
        assert len(rows) > 2, rows
        assert re.fullmatch(r"\|(?: ?:?-+:? ?\|)+", rows[1]), rows[:2]
        assert all(row.endswith("|") for row in rows), [row for row in rows if not row.endswith("|")]


def test_nothing_installs_a_release_that_is_not_there() -> None:
    """Extras of what is installed need no release; the plugin itself does. Change this with the first release."""
    pages = (
        ROOT / "README.md",
        *DOCS.glob("*.md"),
        *DOCS.glob("*.ipynb"),
        *(ROOT / "examples").rglob("*.md"),
        ROOT / "action.yml",
    )
    lines = [line for page in pages for line in re.findall(r"pip install [^`\n#]*", page.read_text(encoding="utf-8"))]
    assert len(lines) > 10
    assert [line for line in lines if re.search(r"""(?<![/\w])pytest-editpitfalls(?=["'\s]|$)(?! @ git)""", line)] == []
