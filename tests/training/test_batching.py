"""The rules of batches, against plain loops."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.training.batching import digest, distinct_batches, paired_rows, paired_stream

rows_of_values = st.lists(st.frozensets(st.integers(0, 8), max_size=3), max_size=40)


def first_fit(order: list[int], values: list[frozenset[int]], size: int) -> list[list[int]]:
    """What `distinct_batches` must give, by looking at every waiting row for every batch."""
    left, batches = list(order), []
    while left:
        batch: list[int] = []
        inside: set[int] = set()
        waiting = []
        for row in left:
            if len(batch) < size and inside.isdisjoint(values[row]):
                batch.append(row)
                inside |= values[row]
            else:
                waiting.append(row)
        batches.append(batch)
        left = waiting
    return batches


@given(rows_of_values, st.integers(1, 7), st.randoms(use_true_random=False))
def test_distinct_batches_are_those_of_first_fit(
    values: list[frozenset[int]], size: int, shuffled: random.Random
) -> None:
    order = list(range(len(values)))
    shuffled.shuffle(order)
    batches = list(distinct_batches(order, values.__getitem__, size))
    assert batches == first_fit(order, values, size)
    assert sorted(row for batch in batches for row in batch) == sorted(order)
    for batch in batches:
        assert 1 <= len(batch) <= size
        assert max(Counter(value for row in batch for value in values[row]).values(), default=1) == 1


@pytest.mark.parametrize(
    "values",
    [
        lambda row: {row, -1} if row % 2 else {row},  # half of the rows have one value in common
        lambda row: {row, -1},  # all have
        lambda row: {row, -1 - row % 10},  # ten popular values
        lambda row: {row % 50, -1 - row // 50 % 50},  # few values in both columns
    ],
)
def test_the_cost_grows_with_the_rows_alone(values: Callable[[int], set[int]]) -> None:
    looks = []
    for n in (2000, 8000):
        seen = Counter[int]()

        def counted(row: int, seen: Counter[int] = seen) -> set[int]:
            seen[row] += 1
            return values(row)

        order = list(range(n))
        random.Random(0).shuffle(order)
        assert sum(map(len, distinct_batches(order, counted, 16))) == n
        looks.append(sum(seen.values()) / n)
    assert max(looks) < 12
    assert looks[1] < 1.5 * looks[0]


groupings = st.lists(st.integers(2, 20), min_size=2, max_size=8).map(
    lambda sizes: {label: [1000 * label + i for i in range(size)] for label, size in enumerate(sizes)}
)


@given(groupings, st.sampled_from([4, 6, 8, 16]), st.randoms(use_true_random=False))
def test_every_label_of_a_batch_has_two_rows(groups: dict[int, list[int]], size: int, shuffled: random.Random) -> None:
    def shuffle(n: int) -> list[int]:
        numbers = list(range(n))
        shuffled.shuffle(numbers)
        return numbers

    batches = list(paired_stream(groups, size, shuffle))
    rows = [row for batch in batches for row in batch]
    assert len(set(rows)) == len(rows)
    assert set(rows) <= {row for members in groups.values() for row in members}
    for batch in batches:
        counts = Counter(row // 1000 for row in batch)
        assert len(counts) >= 2
        assert min(counts.values()) >= 2
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    room = paired_rows(groups)
    assert room - len(rows) in (0, 2)  # two rows of one label are no batch
    assert room % size == 2 or len(rows) == room


def test_digests() -> None:
    values = ["", "a", "b", "a ", "\ud800", 1, 1.0, None, ["a"], ["a", "b"], -5]
    assert len({digest(value) for value in values}) == len(values)
    assert digest("a") == 3405396810240292928  # in every process
    assert min(digest(i) for i in range(50)) < 0 < max(digest(i) for i in range(50)) < 2**63
