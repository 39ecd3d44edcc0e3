"""Batches: the same for any run order, whole, and no larger than asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.scheduling.planning import Group, Slot, batch_of, cut, plan

GROUPS = [Group(suite, "rome", model) for suite in ("reverse", "easy") for model in ("a", "b")]
slots = st.lists(st.builds(Slot, st.sampled_from(GROUPS), st.integers(0, 40)), max_size=60)


@given(slots, st.randoms(), st.integers(1, 9))
def test_any_order_gives_the_same_batches(selected, random, size):
    shuffled = list(selected)
    random.shuffle(shuffled)
    first, second = plan(selected), plan(shuffled)
    assert first == second
    for group, indices in first.items():
        batches = cut(group, indices, size)
        assert [index for batch in batches for index in batch.indices] == sorted(set(indices))
        assert all(1 <= len(batch.indices) <= size for batch in batches)
        for index in indices:
            assert index in batch_of(group, indices, index, size).indices


def test_what_is_not_selected_has_no_batch():
    with pytest.raises(KeyError):
        batch_of(GROUPS[0], (1, 2), 3, 2)


def test_a_batch_has_a_size():
    with pytest.raises(ValueError, match="less than 1"):
        cut(GROUPS[0], (1,), 0)
