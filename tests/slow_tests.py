"""The tests that the fast run leaves out, by folder or module: ``pytest -m "not slow"``."""

from __future__ import annotations

SLOW = {
    "fuzz": "thousands of spoilt inputs",
}
"""Paths below tests/, each with what takes so long."""
