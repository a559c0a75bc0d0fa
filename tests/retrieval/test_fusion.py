"""Fusion by rank."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.retrieval import reciprocal_rank_fusion

orders = st.lists(st.lists(st.integers(0, 9), unique=True, max_size=8), max_size=4)


@given(orders)
def test_by_the_definition(found: list[list[int]]) -> None:
    fused = reciprocal_rank_fusion(found)
    assert {item for item, _ in fused} == {item for order in found for item in order}
    for item, score in fused:
        assert score == pytest.approx(sum(1 / (60 + order.index(item) + 1) for order in found if item in order))
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)


@given(st.lists(st.integers(0, 99), unique=True, max_size=20), st.integers(1, 3))
def test_equal_orders_stay_as_they_are(order: list[int], times: int) -> None:
    assert [item for item, _ in reciprocal_rank_fusion([order] * times)] == order


def test_refused() -> None:
    with pytest.raises(ValueError, match="order 1 has an id more than once"):
        reciprocal_rank_fusion([["a"], ["b", "b"]])
    with pytest.raises(ValueError, match="k must be positive, not 0"):
        reciprocal_rank_fusion([["a"]], k=0)
