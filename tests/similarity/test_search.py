from __future__ import annotations

import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.similarity import brute
from tests.similarity.brute import FUNCTIONS, untimed
from vicinal import util
from vicinal.errors import DimensionMismatch, NonFiniteEmbedding
from vicinal.similarity import topk
from vicinal.util import semantic_search

Hits = list[list[dict[str, Any]]]


def ids(hits: Hits) -> list[list[int]]:
    return [[hit["corpus_id"] for hit in found] for found in hits]


def scores(hits: Hits) -> np.ndarray:
    return np.array([[hit["score"] for hit in found] for found in hits])


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check_against(expected: np.ndarray, hits: Hits, k: int) -> None:
    """The hits are those of these scores, in their order, and say them."""
    assert ids(hits) == brute.search(expected, k)
    np.testing.assert_allclose(scores(hits), np.take_along_axis(expected, np.array(ids(hits)), 1), rtol=1e-12)


@pytest.mark.parametrize("name", ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"])
@pytest.mark.parametrize("chunks", [{}, {"query_chunk_size": 2, "corpus_chunk_size": 11}])
def test_hits_are_the_peers(name: str, chunks: dict[str, int], peer: dict[str, np.ndarray]) -> None:
    function = getattr(util, name)
    hits = semantic_search(peer["queries"], peer["corpus"], top_k=7, score_function=function, **chunks)
    assert ids(hits) == peer[f"search_{name}_ids"].tolist()
    np.testing.assert_allclose(scores(hits), peer[f"search_{name}_scores"], rtol=1e-5, atol=1e-5)


def test_form_of_a_hit() -> None:
    hits = semantic_search([1.0, 0.0], [[0.0, 1.0], [1.0, 1.0], [3.0, 0.0]], top_k=2)
    assert hits == [[{"corpus_id": 2, "score": 1.0}, {"corpus_id": 1, "score": pytest.approx(0.5**0.5, abs=1e-15)}]]
    assert type(hits[0][0]["corpus_id"]) is int
    assert type(hits[0][0]["score"]) is float


@st.composite
def integer_searches(draw: st.DrawFn) -> dict[str, Any]:
    """Small whole numbers and repeated rows: many ties, and scores that float64 holds exactly."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, q, d = draw(st.integers(1, 60)), draw(st.integers(1, 6)), draw(st.integers(1, 7))
    pool = rng.integers(-3, 4, (draw(st.integers(1, 60)), d))
    dtype = draw(st.sampled_from([np.float32, np.float64, np.float16, np.int8]))
    return {
        "query_embeddings": rng.integers(-3, 4, (q, d)).astype(dtype),
        "corpus_embeddings": pool[rng.integers(0, len(pool), n)].astype(dtype),
        "query_chunk_size": draw(st.integers(1, 7)),
        "corpus_chunk_size": draw(st.integers(1, 70)),
        "top_k": draw(st.integers(1, 70)),
    }


@pytest.mark.parametrize("name", ["dot", "euclidean", "manhattan"])
@settings(untimed, max_examples=200)
@given(case=integer_searches())
def test_ties_go_to_the_lower_row(name: str, case: dict[str, Any]) -> None:
    fast, slow = FUNCTIONS[name]
    hits = semantic_search(**case, score_function=fast)
    expected = slow(case["query_embeddings"].astype(np.float64), case["corpus_embeddings"].astype(np.float64))
    check_against(expected, hits, case["top_k"])


@settings(untimed, max_examples=200)
@given(case=integer_searches())
def test_equal_rows_tie_under_cosine(case: dict[str, Any]) -> None:
    hits = semantic_search(**case)
    corpus = case["corpus_embeddings"].astype(np.float64)
    expected = brute.cosine(case["query_embeddings"].astype(np.float64), corpus)
    for row, found in zip(expected, hits, strict=True):
        order = [hit["corpus_id"] for hit in found]
        assert len(set(order)) == len(order) == min(case["top_k"], len(corpus))
        np.testing.assert_allclose([hit["score"] for hit in found], row[order], atol=1e-14)
        np.testing.assert_allclose(row[order], np.sort(row)[::-1][: len(order)], atol=1e-14)
        for i, j in zip(*np.nonzero((corpus[:, None] == corpus).all(axis=2)), strict=True):
            if i < j and j in order:
                assert i in order[: order.index(j)], f"row {i} equals row {j} and comes first"


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dimensions", [1, 2, 7, 33, 64])
def test_equal_rows_score_the_same_wherever_they_lie(name: str, dimensions: int) -> None:
    corpus = np.repeat(normal(1, 5, dimensions), 97, axis=0)
    shuffled = np.random.default_rng(2).permutation(len(corpus))
    hits = semantic_search(
        normal(3, 4, dimensions), corpus[shuffled], top_k=len(corpus), score_function=FUNCTIONS[name][0]
    )
    for found in hits:
        groups: dict[float, list[int]] = {}
        for hit in found:
            groups.setdefault(hit["score"], []).append(hit["corpus_id"])
        assert len(groups) <= 5
        assert all(rows == sorted(rows) for rows in groups.values())


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(("n", "k"), [(3000, 1), (3000, 10), (3000, 200), (50, 50)])
def test_many_tiles(name: str, n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 16 * 97)
    fast, slow = FUNCTIONS[name]
    queries, corpus = normal(4, 9, 16), normal(5, n, 16)
    expected = slow(queries.astype(np.float64), corpus.astype(np.float64))
    check_against(expected, semantic_search(queries, corpus, 4, top_k=k, score_function=fast), k)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_near_ties_are_told_apart(name: str, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences far below what a float32 product can see, at the border of the hits as within them."""
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 32 * 50)
    fast, slow = FUNCTIONS[name]
    step = 3e-7 if dtype is np.float32 else 1e-11
    rows = normal(6, 1, 32).astype(np.float64) * (1 + step * np.random.default_rng(7).standard_normal((400, 32)))
    corpus = rows.astype(dtype)
    queries = normal(8, 3, 32).astype(dtype)
    wide = corpus.astype(np.longdouble)
    expected = slow(queries.astype(np.longdouble), wide) if name != "cosine" else _long_cosine(queries, wide)
    hits = semantic_search(queries, corpus, top_k=25, score_function=fast)
    for row, order in zip(expected, ids(hits), strict=True):
        best = np.sort(row)[::-1][:25]
        np.testing.assert_allclose(row[order].astype(np.float64), best.astype(np.float64), rtol=0, atol=3e-15 * 100)
    assert len(set(map(tuple, ids(hits)))) > 1


def _long_cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a = a.astype(np.longdouble)
    return np.asarray((a @ b.T) / np.sqrt(np.square(a).sum(1)[:, None] * np.square(b).sum(1)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("order", ["rising", "falling"])
def test_order_of_the_corpus_does_not_matter(name: str, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus sorted by its score is the worst that a floor which rises can meet."""
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 8 * 64)
    fast, slow = FUNCTIONS[name]
    query, corpus = normal(9, 1, 8), normal(10, 2000, 8)
    by_score = np.argsort(slow(query.astype(np.float64), corpus.astype(np.float64))[0])
    corpus = corpus[by_score if order == "rising" else by_score[::-1]]
    expected = slow(query.astype(np.float64), corpus.astype(np.float64))
    check_against(expected, semantic_search(query, corpus, top_k=5, score_function=fast), 5)


@pytest.mark.parametrize("order", [1, -1])
def test_rounding_that_changes_from_tile_to_tile(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows have rougher dot products than short ones, whether they set the floor or must reach it."""
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 64 * 20)
    rng = np.random.default_rng(11)
    query = rng.standard_normal((1, 64)).astype(np.float32)
    along = query[0] / np.square(query[0]).sum()
    across = rng.standard_normal((400, 64))
    across -= (across @ query[0].astype(np.float64))[:, None] * along
    lengths = np.geomspace(1, 1e5, 400)[::order, None]
    corpus = (along + lengths * across).astype(np.float32)
    expected = query.astype(np.float64) @ corpus.astype(np.float64).T
    hits = semantic_search(query, corpus, top_k=8, score_function=util.dot_score)
    np.testing.assert_allclose(scores(hits)[0], np.sort(expected[0])[::-1][:8], rtol=1e-8)


def test_rounding_of_long_rows_around_a_short_query() -> None:
    """All rows lie as far from the query as float32 can tell."""
    rows = normal(30, 500, 48).astype(np.float64)
    corpus = (rows / np.linalg.norm(rows, axis=1)[:, None]).astype(np.float32)
    query = 1e-9 * normal(31, 1, 48)
    expected = brute.euclidean(query.astype(np.float64), corpus.astype(np.float64))
    check_against(expected, semantic_search(query, corpus, top_k=20, score_function=util.euclidean_sim), 20)


@pytest.fixture
def clearings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many candidates were held each time when they were weeded out."""
    held: list[int] = []
    clear = topk._Best._clear

    def watched(self: Any) -> None:
        held.append(int(self.counts.sum()))
        clear(self)

    monkeypatch.setattr(topk._Best, "_clear", watched)
    return held


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masses_of_ties(name: str, clearings: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 6 * 500)
    corpus = np.tile(normal(12, 1, 6), (4000, 1))
    corpus[3990] = corpus[3991] = 2 * normal(13, 1, 6)
    queries = np.concatenate([normal(13, 1, 6), normal(12, 1, 6), np.zeros((1, 6), np.float32)])
    fast, slow = FUNCTIONS[name]
    hits = semantic_search(queries, corpus, top_k=5, score_function=fast)
    expected = slow(queries[:, :].astype(np.float64), corpus.astype(np.float64))
    assert ids(hits) == brute.search(np.round(expected, 12), 5)
    assert max(clearings) <= 3 * (500 + 2 * (2 * 5 + 64))  # a tile, and the few that may be left before it


@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e-18, 1e18, 1e30, 3e37])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_scales_at_the_ends_of_float32(name: str, scale: float) -> None:
    fast, slow = FUNCTIONS[name]
    queries, corpus = (normal(seed, n, 12) * np.float32(scale) for seed, n in ((14, 3), (15, 200)))
    expected = slow(queries.astype(np.float64), corpus.astype(np.float64))
    check_against(expected, semantic_search(queries, corpus, top_k=6, score_function=fast), 6)


@pytest.mark.parametrize("scale", [1e-120, 1e-60, 1e60, 1e120])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_scales_beyond_float32(name: str, scale: float) -> None:
    fast, slow = FUNCTIONS[name]
    queries, corpus = (normal(seed, n, 12).astype(np.float64) * scale for seed, n in ((14, 3), (15, 200)))
    assert ids(semantic_search(queries, corpus, top_k=6, score_function=fast)) == brute.search(
        slow(queries / scale, corpus / scale), 6
    )


def test_mixed_scales_in_one_corpus() -> None:
    corpus = normal(16, 300, 12).astype(np.float64) * np.geomspace(1e-60, 1e60, 300)[:, None]
    corpus[77] = 0
    queries = normal(17, 3, 12)
    expected = brute.cosine(queries.astype(np.float64), corpus)
    check_against(expected, semantic_search(queries, corpus, top_k=300), 300)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", ["dot", "euclidean", "manhattan"])
def test_mixed_scales_from_tile_to_tile(name: str, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 12 * 10)
    corpus = normal(16, 300, 12).astype(np.float64) * np.geomspace(1e-60, 1e60, 300)[::order, None]
    queries = normal(17, 3, 12)
    fast, slow = FUNCTIONS[name]
    expected = slow(queries.astype(np.float64), corpus)
    hits = semantic_search(queries, corpus, top_k=20, score_function=fast)
    np.testing.assert_allclose(scores(hits), -np.sort(-expected, axis=1)[:, :20], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int8, np.uint8, ">f4"])
def test_types_of_corpus(dtype: Any) -> None:
    queries, corpus = normal(18, 4, 10), (30 * normal(19, 80, 10)).clip(-100, 100)
    corpus = np.abs(corpus).astype(dtype) if dtype is np.uint8 else corpus.astype(dtype)
    expected = brute.cosine(queries.astype(np.float64), corpus.astype(np.float64))
    check_against(expected, semantic_search(queries, corpus, top_k=9), 9)


def test_k_beyond_the_corpus() -> None:
    queries, corpus = normal(20, 2, 4), normal(21, 3, 4)
    check_against(brute.cosine(queries.astype(float), corpus.astype(float)), semantic_search(queries, corpus), 3)


def test_nothing_to_search() -> None:
    assert semantic_search(np.ones((2, 3)), np.empty((0, 3))) == [[], []]
    assert semantic_search(np.ones((2, 3)), []) == [[], []]
    assert semantic_search([], np.ones((2, 3))) == []
    assert semantic_search(np.empty((0, 3)), np.ones((2, 3))) == []
    assert semantic_search([], []) == []


@pytest.mark.parametrize("name", ["top_k", "query_chunk_size", "corpus_chunk_size"])
@pytest.mark.parametrize("number", [0, -1])
def test_numbers_below_one(name: str, number: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not {number}"):
        semantic_search(np.ones((1, 2)), np.ones((2, 2)), **{name: number})


def test_lengths_that_differ() -> None:
    expected = "query_embeddings has shape (1, 3), corpus_embeddings has shape (5, 4)"
    with pytest.raises(DimensionMismatch, match=re.escape(expected)):
        semantic_search(np.ones(3), np.ones((5, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", [*FUNCTIONS, "own"])
def test_rows_that_are_not_finite(name: str, value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topk, "_TILE_BYTES", 4 * 4 * 16)
    function = FUNCTIONS[name][0] if name in FUNCTIONS else lambda a, b: a @ b.T
    corpus = normal(22, 100, 4)
    corpus[[67, 70], 1] = value
    with pytest.raises(NonFiniteEmbedding, match="corpus_embeddings holds nan or infinity in row 67, 70: such"):
        semantic_search(normal(23, 3, 4), corpus, score_function=function)
    queries = normal(23, 20, 4)
    queries[3:17] = value
    with pytest.raises(NonFiniteEmbedding, match=r"query_embeddings holds .* in row 3, 4, 5, 6, 7 and 9 more: such"):
        semantic_search(queries, normal(22, 10, 4), score_function=function)


def test_vectors_too_long_to_compare() -> None:
    corpus = np.ones((3, 2))
    corpus[1] = 1e200
    with pytest.raises(ValueError, match=re.escape("corpus_embeddings has a vector of length 1.41e+200 in row 1")):
        semantic_search(np.ones(2), corpus)


def test_own_score_function() -> None:
    queries, corpus = normal(24, 7, 5), normal(25, 200, 5)
    calls = []

    def score(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        calls.append((a.shape, b.shape))
        return -np.abs(a[:, None, 0] - b[:, 0])

    hits = semantic_search(queries, corpus, 3, 64, top_k=4, score_function=score)
    expected = score(queries, corpus).astype(np.float64)
    check_against(expected, hits, 4)
    assert max(a[0] for a, _ in calls[:-1]) <= 3
    assert max(b[0] for _, b in calls[:-1]) <= 64


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32, np.bool_])
@untimed
@given(data=st.data())
def test_own_scores_may_tie(dtype: Any, data: st.DataObject) -> None:
    n, k = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 60))
    table = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-2, 3, (3, n)).astype(dtype)
    rows, columns = np.arange(3.0)[:, None], np.arange(float(n))[:, None]
    hits = semantic_search(
        rows,
        columns,
        query_chunk_size=data.draw(st.integers(1, 4)),
        corpus_chunk_size=data.draw(st.integers(1, 60)),
        top_k=k,
        score_function=lambda a, b: table[np.ix_(a[:, 0].astype(int), b[:, 0].astype(int))],
    )
    check_against(table.astype(np.float64), hits, k)


def test_own_scores_may_be_infinite() -> None:
    table = np.array([[-np.inf, 1.0, -np.inf, np.inf, -np.inf, 2.0]])
    hits = semantic_search(np.ones(1), np.arange(6.0)[:, None], 1, 2, 5, lambda a, b: table[:, b[:, 0].astype(int)])
    assert ids(hits) == [[3, 5, 1, 0, 2]]


def test_own_scores_of_a_constant_cost_nothing(clearings: list[int]) -> None:
    hits = semantic_search(np.ones((2, 3)), np.ones((50_000, 3)), 2, 1000, 5, lambda a, b: np.zeros((2, len(b))))
    assert ids(hits) == [[0, 1, 2, 3, 4]] * 2
    assert clearings == [2 * 1000, 2 * 5]  # of the first tile all, of the 49 others none


def test_more_queries_than_a_chunk_may_have() -> None:
    queries, corpus = normal(32, 40_000, 2), normal(33, 12, 2)
    expected = brute.dot(queries.astype(np.float64), corpus.astype(np.float64))
    hits = semantic_search(queries, corpus, 10**6, top_k=2, score_function=util.dot_score)
    assert ids(hits) == np.argsort(-expected, axis=1)[:, :2].tolist()


@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 5, 1)])
def test_own_scores_of_another_shape(shape: tuple[int, ...]) -> None:
    message = re.escape(
        f"score_function must return one score for each query and each corpus row: expected shape (2, 5), got {shape}"
    )
    with pytest.raises(ValueError, match=message):
        semantic_search(np.ones((2, 3)), np.ones((5, 3)), score_function=lambda a, b: np.zeros(shape))


def test_own_scores_that_are_nan() -> None:
    with pytest.raises(NonFiniteEmbedding, match="score_function returned nan, which cannot be ranked"):
        semantic_search(np.ones((2, 3)), np.ones((5, 3)), score_function=lambda a, b: np.full((2, 5), np.nan))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_memory_map_is_not_loaded_whole(name: str, dtype: Any, tmp_path: Path) -> None:
    n, d = 60_000, 200
    corpus = np.memmap(tmp_path / "corpus", dtype, "w+", shape=(n, d))
    for start in range(0, n, 10_000):
        corpus[start : start + 10_000] = normal(start, 10_000, d)
    corpus.flush()
    corpus = np.memmap(tmp_path / "corpus", dtype, "r", shape=(n, d))
    query = np.array(corpus[41_234], dtype=np.float32)
    tracemalloc.start()
    hits = semantic_search(query, corpus, top_k=3, score_function=FUNCTIONS[name][0])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert hits[0][0]["corpus_id"] == 41_234
    assert peak < 30e6  # the corpus has 24 to 96 MB


def test_memory_does_not_grow_with_chunk_sizes() -> None:
    queries, corpus = normal(26, 3000, 8), normal(27, 40_000, 8)
    tracemalloc.start()
    semantic_search(queries, corpus, 10**9, 10**9, top_k=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6  # all scores at once would have 480 MB


def test_older_name() -> None:
    queries, corpus = normal(28, 2, 4), normal(29, 9, 4)
    assert util.information_retrieval(queries, corpus, top_k=3) == semantic_search(queries, corpus, top_k=3)
