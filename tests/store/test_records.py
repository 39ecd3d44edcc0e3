"""What is stored comes back bit for bit, and damage never comes back as a value."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_samples import CASE, HEADER, filled, header, record, scores

from pytest_editpitfalls.pitfalls import compile_case
from pytest_editpitfalls.program import CaseScores, ProbeScore
from pytest_editpitfalls.store import directory as files
from pytest_editpitfalls.store.directory import Store
from pytest_editpitfalls.store.identity import RunHeader, case_key
from pytest_editpitfalls.store.stored_case import MAX_BYTES, StoredCase, sealed, unsealed

FLOATS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def bits(values: tuple[float, ...]) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(TEXTS, st.lists(FLOATS, max_size=4), st.none() | st.integers(1, 9)), max_size=4),
    st.lists(TEXTS, max_size=3),
    st.dictionaries(TEXTS, st.sampled_from([True, False, None]), max_size=2),
    st.dictionaries(TEXTS, FLOATS, max_size=3),
    st.none() | TEXTS,
    st.none() | TEXTS,
    FLOATS,
)
def test_any_scores_come_back_bit_for_bit(
    tmp_path: Path,
    probes: list[tuple[str, list[float], int | None]],
    notes: list[str],
    held: dict[str, bool | None],
    timings: dict[str, float],
    error: str | None,
    skipped: str | None,
    seconds: float,
) -> None:
    before = CaseScores(
        CASE.id,
        tuple(ProbeScore(fact, "12", tuple(values), tokens) for fact, values, tokens in probes),
        held,
        seconds,
        tuple(notes),
        error,
        skipped,
        timings,
    )
    program = compile_case(CASE)
    key = case_key(HEADER, CASE, program)
    store = Store.open(tmp_path / "store")
    stored = StoredCase.of(key, HEADER, CASE, program, before, model="tiny")
    store.record_path(key).unlink(missing_ok=True)
    assert store.put(stored)
    found = store.get(key)
    assert found == stored
    after = found.scores()
    assert after == before
    for old, new in zip(before.probes, after.probes, strict=True):
        assert bits(old.probabilities) == bits(new.probabilities)


def test_the_smallest_and_largest_numbers(tmp_path: Path) -> None:
    values = (5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -0.0, 0.1, 1.0, 1e-45)
    store = Store.open(tmp_path / "store")
    assert store.put(record(values=values))
    found = store.get(record().key)
    assert found is not None
    assert bits(found.scores().probes[0].probabilities) == bits(values)


def test_numbers_that_are_not_finite_stay_what_they_are(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert store.put(record(values=(math.nan, math.inf, -math.inf)))
    assert b"NaN" in store.record_path(record().key).read_bytes()
    found = store.get(record().key)
    assert found is not None
    nan, high, low = found.scores().probes[0].probabilities
    assert math.isnan(nan)
    assert (high, low) == (math.inf, -math.inf)


def test_half_surrogate_pairs_do_not_cost_the_record(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    assert store.put(record(notes=("bad \ud800 label",), error="\udfff"))
    found = store.get(record().key)
    assert found is not None
    assert found.notes == ["bad \\ud800 label"]
    assert found.error == "\\udfff"


def test_metrics_are_kept_beside_the_probes() -> None:
    assert record().metrics["cs_exp"] == 0.0
    assert record(probes=(), error="diverged").metrics == {}
    assert record(error="diverged").is_error
    assert not record(skipped="no tokens").is_error
    assert record().scores() == scores(CASE)


def test_a_file_cut_anywhere_is_missing(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=1)
    for path, read in (
        (store.record_path(record().key), lambda: store.get(record().key)),
        (store.header_path(HEADER.key), lambda: store.header(HEADER.key)),
    ):
        whole = path.read_bytes()
        assert read() is not None
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            before = store.broken
            assert read() is None, length
            assert store.broken == before + 1
        path.write_bytes(whole + b"\n")
        assert read() is None
        path.write_bytes(whole)
        assert read() is not None


def test_every_flipped_bit_shows(tmp_path: Path) -> None:
    # Without the file system: what `Store.get` does with the bytes. One file is flipped on the disk, too.
    whole = sealed(record().model_dump())
    assert unsealed(whole) is not None
    data = bytearray(whole)
    for place in range(len(data)):
        for bit in range(8):
            data[place] ^= 1 << bit
            assert unsealed(bytes(data)) is None, (place, bit)
            data[place] ^= 1 << bit
    store = filled(tmp_path / "store", cases=1)
    path = store.record_path(record().key)
    for place in range(0, len(whole), 97):
        data[place] ^= 1
        path.write_bytes(data)
        assert store.get(record().key) is None
        data[place] ^= 1
    path.write_bytes(data)
    assert store.get(record().key) == record()


@pytest.mark.parametrize(
    "change",
    [
        {"key": "0" * 64},
        {"format": 1},
        {"kind": 3},
        {"seconds": "1.5"},
        {"seconds": True},
        {"held_parts": {"edit1": 1}},
        {"notes": "one"},
        {"probes": [{"fact": "old", "state": "1", "probabilities": [None]}]},
        {"probes": {}},
        {"metrics": [0.5]},
        {"surprise": 1},
        {"error": 5},
    ],
)
def test_a_sound_seal_over_a_wrong_record_is_missing(tmp_path: Path, change: dict[str, object]) -> None:
    store = filled(tmp_path / "store", cases=1)
    path = store.record_path(record().key)
    content = record().model_dump()
    path.write_bytes(sealed(content))
    assert store.get(record().key) == record()
    path.write_bytes(sealed(content | change))
    assert store.get(record().key) is None
    assert store.broken == 1


def test_a_record_or_header_under_another_key_is_missing(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", cases=2)
    store.record_path(record(0).key).write_bytes(store.record_path(record(1).key).read_bytes())
    assert store.get(record(0).key) is None
    assert store.get(record(1).key) == record(1)
    other = header(seed=1)
    store.header_path(other.key).write_bytes(store.header_path(HEADER.key).read_bytes())
    assert store.header(other.key) is None
    changed = HEADER.model_dump(mode="json") | {"seed": 7}  # sealed, but its content has another key
    store.header_path(HEADER.key).write_bytes(sealed(changed))
    assert store.header(HEADER.key) is None
    assert RunHeader.model_validate(changed).key == header(seed=7).key


def test_huge_and_deep_files_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(tmp_path / "store", cases=1)
    path = store.record_path(record().key)
    with monkeypatch.context() as patch:
        patch.setattr(files, "MAX_BYTES", path.stat().st_size - 1)
        assert store.get(record().key) is None  # sound, but too large to be one of ours
    assert store.get(record().key) == record()
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert store.get(record().key) is None
    deep = b"[" * 100_000 + b"]" * 100_000
    body = sealed({"x": "DEEP"}).replace(b'"DEEP"', deep)
    path.write_bytes(body)
    assert store.get(record().key) is None
    path.write_bytes(_resealed(b'{"notes":' + deep + b"}"))
    assert store.get(record().key) is None
    assert store.broken == 4


def _resealed(body: bytes) -> bytes:
    import hashlib

    data = b'{"checksum":"' + hashlib.sha256(body).hexdigest().encode() + b'","content":' + body + b"}\n"
    assert unsealed(data) == body
    return data
