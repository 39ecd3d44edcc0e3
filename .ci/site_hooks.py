"""What the site of the documentation adds to the pages of docs/, which are written for GitHub too (mkdocs.yml).

- A link out of docs/ leads to the repository on GitHub.
- The page of the Python API gets the docstrings of the modules that it lists.
- GitHub's Markdown and the site's differ in lists, tables and code blocks. Where the site would show
  fewer than GitHub, or more, a warning says so, which `mkdocs build --strict` takes for an error.
"""

from __future__ import annotations

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
    return with_docstrings(text) if page.file.src_uri == "api.md" else text


def on_page_content(html: str, page: Any, **_: Any) -> str:
    if page.file.src_uri != "api.md":
        github = counts_on_github((ROOT / "docs" / page.file.src_uri).read_text(encoding="utf-8"))
        site = counts_on_the_site(html)
        for tag in COUNTED:
            if github[tag] != site[tag]:
                log.warning("%s: %d <%s> on GitHub, %d on the site", page.file.src_uri, github[tag], tag, site[tag])
    return html
