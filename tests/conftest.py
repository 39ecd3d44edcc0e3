"""Shared by all tests: pytest's own test harness, and the marker of slow tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from slow_tests import SLOW

pytest_plugins = ["pytester"]

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; before anything imports torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = [TESTS / path for path in SLOW]
    for item in items:
        if any(item.path.is_relative_to(path) for path in slow):
            item.add_marker("slow")
