"""Shared by all tests: pytest's own test harness."""

from __future__ import annotations

pytest_plugins = ["pytester"]
