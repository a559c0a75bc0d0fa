"""Fusion by rank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.retrieval import reciprocal_rank_fusion
from vicinal.retrieval.fusion import weighted

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


number = st.integers(-50, 50).map(lambda n: n / 8)
scores = st.lists(st.tuples(number, number), max_size=12)
weights = st.floats(0, 1)


@given(scores, weights)
def test_weighted_by_the_definition(pairs: list[tuple[float, float]], weight: float) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    wanted = np.zeros(len(pairs))
    for column, share in ((first, 1 - weight), (second, weight)):
        if len(set(column)) > 1:
            wanted += share * (np.array(column) - np.mean(column)) / np.std(column)
    np.testing.assert_allclose(weighted(first, second, weight), wanted, atol=1e-12)


@given(scores, weights, st.sampled_from([0.01, 3, 1e4]), st.sampled_from([-7, 0, 0.5]), st.randoms())
def test_weighted_knows_no_scale_and_no_order(
    pairs: list[tuple[float, float]], weight: float, scale: float, shift: float, random: Any
) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    fused = weighted(first, second, weight)
    np.testing.assert_allclose(weighted([scale * a + shift for a in first], second, weight), fused, atol=1e-7)
    places = list(range(len(pairs)))
    random.shuffle(places)
    np.testing.assert_allclose(
        weighted([first[i] for i in places], [second[i] for i in places], weight), fused[places], atol=1e-12
    )


@given(scores)
def test_the_ends_are_each_alone(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    for weight, column in ((0, first), (1, second)):
        order = np.argsort(-weighted(first, second, weight), kind="stable")
        assert order.tolist() == sorted(range(len(column)), key=lambda i: -column[i])


def test_scores_that_differ_by_rounding_alone_do_not_count() -> None:
    assert weighted([0.1 + 0.2, 0.3], [1, 2], 0.5).tolist() == [-0.5, 0.5]


def test_weighted_refuses() -> None:
    for weight in (-0.1, 1.1, float("nan"), "0.5", True):
        with pytest.raises(ValueError, match=r"weight must be a number between 0 \(the first stage alone\) and 1, not"):
            weighted([1], [2], weight)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="2 scores of one kind and 1 of the other cannot be added"):
        weighted([1, 2], [2], 0.5)
