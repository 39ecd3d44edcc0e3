"""What the site of the documentation adds to the pages of docs/, which are written for GitHub too (mkdocs.yml).

- A link out of docs/ leads to the repository on GitHub.
- Notebooks become pages, with the outputs that are stored in them.
- The page of the Python API gets the docstrings of the modules that it lists.
- GitHub's Markdown and the site's differ in lists, tables and code blocks. Where the site would show
  fewer than GitHub, or more, a warning says so, which `mkdocs build --strict` takes for an error.
"""

from __future__ import annotations

import base64
import json
import logging
import posixpath
import re
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/pytest-editpitfalls/pytest-editpitfalls"
LINK = re.compile(r"(\]\()(\.\./[^)#\s]*)")
"""A link that leaves docs/, up to its anchor."""

NOTEBOOK = re.compile(r"(\]\([\w-]+)\.ipynb\b")
"""A link to a notebook in docs/."""

COUNTED = ("li", "pre", "table", "tr", "blockquote", "h1", "h2", "h3", "h4")

log = logging.getLogger("mkdocs.hooks.site")


def with_links_to_the_repository(text: str, page: str) -> str:
    """The page with links such as ``../suites/datasheet.md`` leading to GitHub; what does not exist is warned about."""

    def absolute(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link[2]))
        if not (ROOT / path).exists():
            log.warning("%s: %s does not exist", page, link[2])
        return f"{link[1]}{REPOSITORY}/{'tree' if (ROOT / path).is_dir() else 'blob'}/main/{path}"

    return LINK.sub(absolute, text)


def with_docstrings(text: str) -> str:
    """The page of the Python API with a directive of mkdocstrings for each module in its table."""
    modules = re.findall(r"(?m)^\| `([\w.]+)` \|", text)
    return text + "".join(f"\n::: {module}\n" for module in modules)


def page_of_notebook(name: str, notebook: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """A notebook as a page, and the pictures that the page shows, by their paths in docs/."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] != "code":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if picture := data.get("image/png"):
                path = f"images/{name}-{len(pictures) + 1}.png"
                pictures[path] = base64.b64decode("".join(picture))
                parts.append(f"![What the cell above draws]({path})")
            elif printed := "".join(output.get("text", data.get("text/plain", ""))).strip("\n"):
                parts.append(f"```text\n{printed}\n```")
    parts.insert(1, f"[Download the notebook]({name}.ipynb)")
    return "\n\n".join(parts) + "\n", pictures


def on_files(files: Any, config: Any, **_: Any) -> Any:
    from mkdocs.structure.files import File

    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        name = file.src_uri.removesuffix(".ipynb")
        text, pictures = page_of_notebook(name, json.loads(file.content_string))
        files.append(File.generated(config, f"{name}.md", content=text))
        for path, picture in pictures.items():
            files.append(File.generated(config, path, content=picture))
    return files


def counts_on_github(text: str) -> Counter[str]:
    """How many lists, tables, code blocks and headings GitHub makes of a page."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    found = Counter(token.tag for token in tokens if token.nesting == 1 and token.tag in COUNTED)
    found["pre"] += sum(token.type in ("fence", "code_block") for token in tokens)
    return found


def counts_on_the_site(html: str) -> Counter[str]:
    """The same of the site's HTML."""
    return Counter(re.findall(rf"<({'|'.join(COUNTED)})\b", html))


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    text = with_links_to_the_repository(markdown, page.file.src_uri)
    if page.file.generated_by is None:  # a notebook's page leads to the notebook itself
        text = NOTEBOOK.sub(r"\1.md", text)
    return with_docstrings(text) if page.file.src_uri == "api.md" else text


def on_page_content(html: str, page: Any, **_: Any) -> str:
    if page.file.generated_by is None and page.file.src_uri != "api.md":
        github = counts_on_github((ROOT / "docs" / page.file.src_uri).read_text(encoding="utf-8"))
        site = counts_on_the_site(html)
        for tag in COUNTED:
            if github[tag] != site[tag]:
                log.warning("%s: %d <%s> on GitHub, %d on the site", page.file.src_uri, github[tag], tag, site[tag])
    return html
