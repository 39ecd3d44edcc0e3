"""Names that the plugin's modules share. Nothing heavy: this is loaded with pytest itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .session import RunState

MARKER = "pitfalls"
CASE_FIXTURE = "pitfall_case"
FOLDER = "pitfalls"
"""Folder of the suites' modules in node ids; it exists in node ids only."""

STATE: pytest.StashKey[RunState] = pytest.StashKey()
"""The run, on pytest's configuration; absent without an editor."""

PAYLOAD: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
"""What an item reports: a case record as plain JSON types, and what only the summary needs."""
