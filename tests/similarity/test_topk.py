"""Top k over a prepared corpus, against float64 over all rows: whole, thinned out, of unit length or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vicinal.similarity import scores, topk
from vicinal.similarity.measures import Prepared, block, measure_of
from vicinal.similarity.topk import top_k

DIMS = 7
FUNCTIONS = [scores.cos_sim, scores.dot_score, scores.euclidean_sim, scores.manhattan_sim]


def rows_of(rng: np.random.Generator, n: int, unit: bool) -> NDArray[np.float32]:
    """Rows of which many are equal, and many nearly so."""
    centres = rng.standard_normal((max(1, n // 9), DIMS))
    rows = centres[rng.integers(len(centres), size=n)] + rng.choice([0, 1e-7, 1e-3], (n, 1))
    if unit:
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def expected(function: Any, queries: Any, rows: Any, k: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    measure = measure_of(function).exact
    assert measure is not None
    found = np.array([measure(np.repeat(q[None], len(rows), 0), rows) for q in queries.astype(np.float64)])
    order = np.argsort(-found, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(found, order, 1), order


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("tile", [1 << 10, 1 << 22])
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1 << 20), n=st.sampled_from([1, 40, 1030, 3000]), queries=st.sampled_from([1, 2, 17]),
    k=st.sampled_from([1, 10, 70]), unit=st.booleans(), kept=st.sampled_from([None, 0.02, 0.8, 0.999]),
)  # fmt: skip
def test_as_float64_over_all_rows(
    function: Any, tile: int, seed: int, n: int, queries: int, k: int, unit: bool, kept: float | None
) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, n, unit)
    wanted = rows_of(rng, queries, unit)
    wanted[0] = rows[n // 2]
    chosen = None if kept is None else np.flatnonzero(rng.random(n) < kept)
    prepared = Prepared(rows, block(rows, "rows").norms, chosen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topk, "_TILE_BYTES", tile)
        found, places = top_k(wanted, prepared, k, measure_of(function), 1024, n, ("queries", "rows"))
    best, where = expected(function, wanted, rows if chosen is None else rows[chosen], k)
    np.testing.assert_array_equal(places, where)
    np.testing.assert_array_equal(found, best)


def test_a_length_near_one_is_no_length_of_one() -> None:
    """The scale is left out of the first pass, and must be found again in the scores."""
    direction = np.random.default_rng(0).standard_normal(DIMS)
    direction /= np.linalg.norm(direction)
    other = direction.copy()
    other[0] += 1e-3
    rows = np.array([other / np.linalg.norm(other) * 1.00009, direction * 0.99991] * 400, np.float32)
    prepared = Prepared(rows, block(rows, "rows").norms)
    assert 1e-5 < prepared.off_unit < 1e-4
    query = direction.astype(np.float32)[None]
    _, found = top_k(query, prepared, 5, measure_of(scores.cos_sim), 1, 800, ("queries", "rows"))
    _, wanted = expected(scores.cos_sim, query, rows, 5)
    np.testing.assert_array_equal(found, wanted)
