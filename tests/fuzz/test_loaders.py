"""Hostile input: whatever a file holds, a reader accepts it or says in one message what is wrong.

A few thousand inputs by default, always the same ones. The long run, N inputs for each reader, counts shown:

    EDITPITFALLS_FUZZ=7000 pytest tests/fuzz -s -k spoilt

An input that did harm is kept in `corpus/<reader>/`, where every run tries it. `run_atheris.py` beside this file does
the same guided by coverage.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .mutations import spoilt_bytes, spoilt_json, spoilt_lines
from .targets import CORPUS, TARGETS, check, seed_of

LONG = int(os.environ.get("EDITPITFALLS_FUZZ", "0"))
BINARY = {".npz", ".safetensors", ".checkpoint", ".gguf", ".parquet"}


@pytest.mark.parametrize("target", TARGETS)
def test_the_seed_is_accepted(target: str, tmp_path: Path) -> None:
    assert check(target, seed_of(target), tmp_path)


KEPT = sorted(path for path in CORPUS.glob("*/*") if not path.name.startswith("seed"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_kept_inputs_are_refused(path: Path, tmp_path: Path) -> None:
    assert not check(path.parent.name, path.read_bytes(), tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_spoilt_inputs_end_in_a_clear_message_at_worst(target: str, tmp_path: Path) -> None:
    seed, suffix = seed_of(target), Path(target).suffix
    strategy = spoilt_bytes(seed) | st.binary(max_size=200)
    if suffix == ".toml":
        strategy |= spoilt_lines(seed)
    elif suffix in (".json", ".jsonl"):
        strategy |= spoilt_json(seed)
    counts: Counter[bool] = Counter()

    @settings(
        max_examples=LONG or (100 if suffix in BINARY else 200),
        deadline=10_000,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def spoil(data: bytes) -> None:
        counts[check(target, data, tmp_path)] += 1

    spoil()
    print(f"\n{target}: {sum(counts.values())} inputs, {counts[True]} accepted, {counts[False]} refused")
    assert counts[False] > counts.total() / 10
