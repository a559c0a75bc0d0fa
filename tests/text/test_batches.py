"""Batches: every row once, no budget passed, padding that nothing reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.backends.base import Bounds
from vicinal.text.batches import padded, plan, rounded
from vicinal.text.tokens import Tokens

ALL = frozenset(("ids", "mask", "pool", "types", "positions", "index", "first", "last"))
lengths_of_texts = st.lists(st.integers(0, 600), max_size=80)


@given(lengths_of_texts, st.integers(1, 3000), st.none() | st.integers(1, 40), st.none() | st.integers(1, 600))
def test_a_plan(lengths: list[int], budget: int, most: int | None, limit: int | None) -> None:
    array = np.array(lengths, np.int64)
    batches = plan(array, budget, most, limit)
    rows = [row for batch, _ in batches for row in batch.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths, reverse=True)
    for batch, width in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) >= 1
        assert width >= max(longest, 1)
        assert len(batch) * width <= budget or len(batch) == 1
        assert most is None or len(batch) <= most
        if limit is not None:  # tokens beyond the position table must not exist, not even as padding
            assert width <= max(limit, max(lengths))


@given(lengths_of_texts, st.integers(1, 3000))
def test_padding_is_a_small_part(lengths: list[int], budget: int) -> None:
    """Of the first row of each batch at most an eighth is padding, beyond what one token or two cost."""
    for batch, width in plan(np.array(lengths, np.int64), budget, None, None):
        longest = max(lengths[row] for row in batch)
        assert width - longest <= max(1, longest // 8 + 3)


def test_equal_rows_keep_their_order() -> None:
    ((batch, width),) = plan(np.full(9, 5), 1000, None, None)
    assert batch.tolist() == list(range(9))
    assert width == 6


def test_few_widths_for_many_lengths() -> None:
    """A runtime keeps a plan for each shape: 512 lengths must not make 512."""
    widths = {width for _, width in plan(np.arange(1, 513), 1, None, None)}
    assert len(widths) < 100


def test_few_shapes_for_calls_of_any_size() -> None:
    shapes = {(len(rows), width) for n in range(1, 1000) for rows, width in plan(np.full(n, 6), 1024, None, None)}
    assert len(shapes) < 40
    assert max(shapes) == (160, 6)


@given(st.integers(1, 100_000))
def test_rounding_leaves_little(rows: int) -> None:
    assert 0 <= rows - rounded(rows) <= rows // 5
    assert rounded(rounded(rows)) == rounded(rows)


@pytest.mark.parametrize("most", [0, -1])
def test_no_rows_a_batch_is_refused(most: int) -> None:
    with pytest.raises(ValueError, match="max_rows"):
        plan(np.array([3, 4]), 100, most, None)


TEXTS = ((11, 12, 13), (21,), (), (31, 32))
LENGTHS = np.array([len(text) for text in TEXTS])
TOKENS = Tokens(
    ids=np.array([i for text in TEXTS for i in text], np.int32),
    types=np.array([i % 2 for text in TEXTS for i in text], np.int32),
    starts=np.cumsum(LENGTHS) - LENGTHS,
    lengths=LENGTHS,
    full=LENGTHS,
)


def feeds_of(tokens: Tokens, bounds: Bounds, needs: frozenset[str] = ALL) -> dict[str, np.ndarray]:
    """The one batch that the tokens make."""
    ((rows, feeds),) = padded(tokens, bounds, needs)
    assert rows.tolist() == [0, 3, 1, 2]
    return feeds


def test_feeds() -> None:
    feeds = feeds_of(TOKENS, Bounds(100))
    assert feeds["ids"].tolist() == [[11, 12, 13, 0], [31, 32, 0, 0], [21, 0, 0, 0], [0, 0, 0, 0]]
    assert feeds["types"].tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert feeds["mask"].tolist() == [[True] * 3 + [False], [True] * 2 + [False] * 2, [True] + [False] * 3, [False] * 4]
    assert feeds["pool"].tolist() == feeds["mask"].tolist()
    assert feeds["index"].tolist() == [0, 1, 2, 3]
    assert feeds["positions"].tolist() == [[1, 2, 3, 0], [1, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert feeds["first"].tolist() == [0, 0, 0, 0]
    assert feeds["last"].tolist() == [2, 1, 0, 0]
    for name, array in feeds.items():
        assert array.dtype == (np.bool_ if name in ("mask", "pool") else np.int32), name
        assert array.flags.c_contiguous, name


def test_feeds_within_the_limit() -> None:
    assert feeds_of(TOKENS, Bounds(100, limit=3))["index"].tolist() == [0, 1, 2]


def test_feeds_without_the_prompt() -> None:
    """A text of no more than the prompt has nothing to pool, and its first token stands for it."""
    feeds = feeds_of(TOKENS, Bounds(100, limit=3, prompt=2))
    assert feeds["pool"].tolist() == [[False, False, True], [False] * 3, [False] * 3, [False] * 3]
    assert feeds["mask"].tolist() == [[True] * 3, [True, True, False], [True, False, False], [False] * 3]
    assert feeds["first"].tolist() == [2, 0, 0, 0]
    assert feeds["last"].tolist() == [2, 1, 0, 0]


def test_what_nobody_reads_is_not_made() -> None:
    feeds = feeds_of(TOKENS, Bounds(100), frozenset(("ids", "mask")))
    assert feeds.keys().isdisjoint({"types", "positions", "first", "last"})


def test_types_are_zero_where_texts_have_none() -> None:
    tokens = Tokens(TOKENS.ids, None, TOKENS.starts, TOKENS.lengths, TOKENS.full)
    assert not feeds_of(tokens, Bounds(100))["types"].any()


def test_rows_and_tokens_bound_a_batch() -> None:
    assert [rows.tolist() for rows, _ in padded(TOKENS, Bounds(8), ALL)] == [[0, 3], [1, 2]]
    assert [rows.tolist() for rows, _ in padded(TOKENS, Bounds(100, rows=1), ALL)] == [[0], [3], [1], [2]]
