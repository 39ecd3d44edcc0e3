"""The HTML report: one self-contained page from stored results. Torch-free and pytest-free."""

from __future__ import annotations

from .page import DEFAULT_TITLE, render_html, write_html

__all__ = ["DEFAULT_TITLE", "render_html", "write_html"]
