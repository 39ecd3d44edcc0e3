"""Fixtures of the benchmarks' tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmark_samples import open_tiny

from pytest_editpitfalls.engine.models import CACHE_VARIABLE
from pytest_editpitfalls.engine.session import EngineSession


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a test's model in the user's cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(params=["gpt2", "llama"])
def tiny_session(request: pytest.FixtureRequest, tmp_path: Path) -> EngineSession:
    return open_tiny(tmp_path, request.param)
