"""Batches and shards: the same for any run order, whole, and no larger than asked."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.errors import UsageError
from pytest_editpitfalls.execution.planning import (
    BatchGroup,
    PlannedCase,
    cases_of_shard,
    cut,
    fair_size,
    items_of,
    plan,
)
from pytest_editpitfalls.execution.xdist.controller import Gpus, WorkerSetup
from pytest_editpitfalls.options.config import Shard

GROUPS = [BatchGroup(suite, "rome", model) for suite in ("reverse", "easy") for model in ("a", "b")]
a_slot = st.builds(PlannedCase, st.sampled_from(GROUPS), st.integers(0, 40))
slots = st.lists(a_slot, max_size=60)


@given(slots, st.randoms(), st.integers(1, 9))
def test_any_order_gives_the_same_batches(selected, random, size):
    shuffled = list(selected)
    random.shuffle(shuffled)
    batches = plan(selected, size)
    assert set(batches) == set(plan(shuffled, size))
    assert all(1 <= len(batch) <= size for batch in batches)
    assert all(len({slot.group for slot in batch}) == 1 for batch in batches)


@given(st.lists(st.none() | a_slot, max_size=60), st.integers(1, 9))
def test_the_batches_cover_every_item_with_a_case_once(items, size):
    batches = plan([slot for slot in items if slot is not None], size)
    covered = [place for unit in items_of(batches, items) for place in unit]
    assert sorted(covered) == [place for place, slot in enumerate(items) if slot is not None]
    for batch, unit in zip(batches, items_of(batches, items), strict=True):
        assert {items[place] for place in unit} == set(batch)


@given(st.integers(0, 200), st.integers(1, 20))
def test_parts_are_of_about_the_same_length(length, size):
    parts = cut(tuple(PlannedCase(GROUPS[0], index) for index in range(length)), size)
    assert sum(len(part) for part in parts) == length
    if parts:
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert len(parts) == -(-length // size)


def test_a_batch_has_a_size():
    with pytest.raises(ValueError, match="less than 1"):
        cut((PlannedCase(GROUPS[0], 1),), 0)


@given(st.integers(0, 20_000), st.integers(1, 64), st.integers(1, 128))
def test_every_worker_gets_several_batches_where_there_are_enough_cases(cases, workers, largest):
    size = fair_size(cases, workers, largest)
    assert 1 <= size <= largest
    if cases >= workers * 12 and size < largest:
        assert cases // size >= 2 * workers


@given(slots, st.integers(1, 12), st.randoms())
def test_shards_are_a_disjoint_cover(selected, of, random):
    shuffled = list(selected)
    random.shuffle(shuffled)
    shards = [cases_of_shard(selected, Shard(number, of)) for number in range(1, of + 1)]
    assert sum(map(len, shards)) == len(set(selected))
    assert set().union(*shards) == set(selected)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", "", "9999999999/9999999999"])
def test_what_is_no_shard(text):
    with pytest.raises(UsageError, match="no shard"):
        Shard.parse(text, where="--pitfalls-shard")


def test_a_shard_is_read():
    assert Shard.parse(" 3 / 16 ", where="x") == Shard(3, 16)
    assert str(Shard(3, 16)) == "3/16"


@pytest.mark.parametrize(
    ("names", "workers", "sharing"), [((), 4, 4), (("0",), 3, 3), (("0", "1"), 3, 2), (("0", "1"), 2, 1)]
)
def test_workers_know_how_many_share_their_device(names, workers, sharing):
    gpus = Gpus(names)
    assert gpus.sharing(workers) == sharing
    held = [gpus.take(f"gw{number}") for number in range(workers)]
    assert max(held.count(each) for each in held) == sharing
    setup = WorkerSetup("here", workers, sharing=sharing)
    assert WorkerSetup.of({"pitfalls": asdict(setup)}) == setup


@pytest.mark.parametrize(
    ("gpus", "workers", "device", "each"),
    [
        ("", 3, "auto", []),
        ("0", 3, "auto", ["0"]),
        ("0123", 4, "auto", ["0", "1", "2", "3"]),
        ("0123", 2, "auto", ["0,1", "2,3"]),
        ("01234", 2, "auto", ["0,1", "2,3"]),
        ("0123", 1, "auto", ["0,1,2,3"]),
        ("0123", 2, "cuda", ["0", "1", "2", "3"]),
    ],
)
def test_few_workers_have_several_gpus_each(gpus, workers, device, each):
    shared = Gpus.shared_out(tuple(gpus), workers, device)
    assert list(shared.names) == each
    environment: dict[str, str] = {}
    WorkerSetup("here", workers, shared.take("gw0")).apply(environment)
    assert environment.get("CUDA_VISIBLE_DEVICES") == (each[0] if each else None)
