"""Which text of a pair loses what, and where its tokens go."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Encoding

from tests.text.test_tokens import MAKERS, OURS, texts
from vicinal.text.pairs import longest_first, ranges, second_first

lengths = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=6)


@given(lengths, st.integers(0, 50))
def test_longest_first(pairs: list[tuple[int, int]], room: int) -> None:
    """What the rule says, token by token; of two equal lengths the library cuts the first."""
    a, b = np.array(pairs).T
    for before, kept in zip(pairs, zip(*longest_first(a, b, room), strict=True), strict=True):
        assert sum(kept) == min(sum(before), room)
        assert all(new <= old for old, new in zip(before, kept, strict=True))
        if sum(before) > room:
            for i in (0, 1):
                if kept[i] < before[i]:  # only a text that stays the longer, or as long, loses tokens
                    assert kept[i] >= kept[1 - i] - 1


@given(lengths, st.integers(0, 50))
def test_second_first(pairs: list[tuple[int, int]], room: int) -> None:
    a, b = np.array(pairs).T
    for pair, (kept_a, kept_b) in zip(pairs, zip(*second_first(a, b, room), strict=True), strict=True):
        assert kept_a + kept_b == min(sum(pair), room)
        assert kept_a == min(pair[0], room)  # the first loses only what does not fit by itself


@pytest.mark.parametrize("name", MAKERS)
@given(batch=st.lists(st.tuples(texts, texts), min_size=1, max_size=4), limit=st.integers(5, 20))
def test_only_the_second_text_is_cut(name: str, batch: list[tuple[str, str]], limit: int) -> None:
    found = OURS[name, True, False](batch, limit, second_first)
    tokenizer = MAKERS[name]()
    for (a, b), start, count in zip(batch, found.starts, found.lengths, strict=True):
        whole: Encoding = tokenizer.encode(a, b)
        first = sum(part == 0 for part in whole.sequence_ids)
        special = sum(part is None for part in whole.sequence_ids)
        row = found.ids[start : start + count].tolist()
        assert len(row) == min(len(whole.ids), limit)
        cut, second = len(whole.ids) - len(row), len(whole.ids) - first - special
        if cut < second:  # where nothing of the second is left the library gives up
            tokenizer.enable_truncation(limit, strategy="only_second")
            assert row == (tokenizer.encode(a, b).ids if cut else whole.ids)
            tokenizer.no_truncation()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), max_size=8))
def test_ranges(parts: list[tuple[int, int]]) -> None:
    starts, counts = (np.array([part[i] for part in parts], np.int64) for i in (0, 1))
    assert ranges(starts, counts).tolist() == [start + i for start, count in parts for i in range(count)]
