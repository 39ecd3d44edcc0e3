from hypothesis import given
from hypothesis import strategies as st

from pytest_editpitfalls.engine.bucketing import buckets


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200), st.floats(0, 1))
def test_every_row_is_in_one_bucket_within_the_limits(lengths: list[int], max_tokens: int, waste: float) -> None:
    found = buckets(lengths, max_tokens=max_tokens, max_waste=waste)
    assert sorted(index for bucket in found for index in bucket) == list(range(len(lengths)))
    for bucket in found:
        rows = [lengths[index] for index in bucket]
        assert len(rows) == 1 or max(rows) * len(rows) <= max_tokens
        assert max(rows) * len(rows) - sum(rows) <= waste * max(rows) * len(rows)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_longest_rows_come_first(lengths: list[int]) -> None:
    found = buckets(lengths, max_tokens=100)
    assert lengths[found[0][0]] == max(lengths)
