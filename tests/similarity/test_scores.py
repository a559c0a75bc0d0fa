from __future__ import annotations

import re
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tests.similarity.brute import FUNCTIONS, untimed
from vicinal import util
from vicinal.errors import DimensionMismatch
from vicinal.util import SimilarityFunction

GRIDS = ["cos_sim", "dot_score", "euclidean_sim", "manhattan_sim"]
PAIRWISE = [f"pairwise_{name}" for name in GRIDS] + ["pairwise_angle_sim"]


def vectors(dtype: Any = np.float64, limit: float = 1e3) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    number = st.floats(-limit, limit, width=np.dtype(dtype).itemsize * 8)
    shapes = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 9))
    return shapes.flatmap(
        lambda s: st.tuples(arrays(dtype, (s[0], s[2]), elements=number), arrays(dtype, (s[1], s[2]), elements=number))
    )


@pytest.mark.parametrize("name", GRIDS)
def test_grid_is_the_peers(name: str, peer: dict[str, np.ndarray]) -> None:
    found = getattr(util, name)(peer["a"], peer["b"])
    assert isinstance(found, np.ndarray)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, peer[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PAIRWISE)
def test_pairwise_is_the_peers(name: str, peer: dict[str, np.ndarray]) -> None:
    found = getattr(util, name)(peer["a"][:5], peer["b"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, peer[name], rtol=1e-5, atol=2e-6)


def test_angle_of_odd_length_is_the_peers(peer: dict[str, np.ndarray]) -> None:
    found = util.pairwise_angle_sim(peer["a"][:5, :23], peer["b"][:, :23])
    np.testing.assert_allclose(found, peer["pairwise_angle_sim_odd"], rtol=1e-5, atol=2e-6)


def test_angle_by_hand() -> None:
    # 1 + 0i and 0 + 1i: the cosine is 0; the sine of a quarter turn is 1
    assert util.pairwise_angle_sim([[3.0, 0.0]], [[0.0, 2.0]]).tolist() == [1.0]


def test_normalize_is_the_peers(peer: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(util.normalize_embeddings(peer["a"]), peer["normalize_embeddings"], atol=2e-7)
    np.testing.assert_allclose(util.normalize_embeddings(peer["a"][0]), peer["normalize_embeddings"][0], atol=2e-7)


@pytest.mark.parametrize("name", FUNCTIONS)
@untimed
@given(pair=vectors())
def test_grid_is_the_definition_in_float64(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    fast, slow = FUNCTIONS[name]
    a, b = pair
    found = fast(a, b)
    assert found.dtype == np.float64
    scale = 1.0 if name == "cosine" else np.abs(a).max() + np.abs(b).max() + 1e-30
    scale *= scale if name == "dot" else 1.0
    if name != "cosine":  # a cosine of subnormal vectors is tested below, where the definition in float64 holds too
        np.testing.assert_allclose(found / scale, slow(a, b) / scale, rtol=1e-9, atol=1e-9)
    else:
        keep = np.ix_(np.abs(a).max(axis=1) > 1e-100, np.abs(b).max(axis=1) > 1e-100)
        np.testing.assert_allclose(found[keep], slow(a, b)[keep], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", FUNCTIONS)
@untimed
@given(pair=vectors(np.float32, 100.0))
def test_grid_is_the_definition_in_float32(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    fast, slow = FUNCTIONS[name]
    a, b = pair
    found = fast(a, b)
    assert found.dtype == np.float32
    expected = slow(a.astype(np.float64), b.astype(np.float64))
    scale = np.abs(expected).max() + 1.0
    np.testing.assert_allclose(found / scale, expected / scale, atol=3e-6 * (100 if name == "dot" else 1))


@pytest.mark.parametrize("name", GRIDS)
@untimed
@given(pair=vectors())
def test_pairwise_is_the_diagonal(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    n = min(map(len, pair))
    a, b = (side[:n] for side in pair)
    whole = np.diagonal(getattr(util, name)(a, b))
    np.testing.assert_allclose(getattr(util, f"pairwise_{name}")(a, b), whole, rtol=1e-7, atol=1e-6)


@untimed
@given(pair=vectors(), powers=st.tuples(st.integers(-400, 400), st.integers(-400, 400)))
def test_cosine_knows_no_length(pair: tuple[np.ndarray, np.ndarray], powers: tuple[int, int]) -> None:
    a, b = (np.where(np.abs(side) < 1e-3, 0.0, side) for side in pair)
    found = util.cos_sim(np.ldexp(a, powers[0]), np.ldexp(b, powers[1]))
    np.testing.assert_allclose(found, util.cos_sim(a, b), atol=1e-12)


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-20, 1e20, 1e37])
def test_cosine_of_extreme_float32(scale: float) -> None:
    a = np.array([[3.0, 4.0], [0.0, 1.0]], np.float32) * np.float32(scale)
    np.testing.assert_allclose(util.cos_sim(a, a), [[1.0, 0.8], [0.8, 1.0]], atol=1e-6)


def test_zero_vector_scores_zero() -> None:
    assert util.cos_sim([[0.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]).tolist() == [[0.0, 0.0]]
    assert util.pairwise_cos_sim([[0.0, 0.0]], [[1.0, 2.0]]).tolist() == [0.0]
    assert util.normalize_embeddings([[0.0, 0.0], [0.0, 2.0]]).tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_cosine_is_never_above_one() -> None:
    a = np.random.default_rng(0).standard_normal((300, 17)).astype(np.float32)
    assert np.abs(util.cos_sim(a, a)).max() <= 1.0
    assert util.pairwise_cos_sim(a, a).max() <= 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1.0, 100.0])
def test_near_vectors_do_not_cancel(dtype: Any, offset: float) -> None:
    rng = np.random.default_rng(1)
    a = (rng.standard_normal((40, 64)) + offset).astype(dtype)
    b = (a + 1e-3 * rng.standard_normal(a.shape)).astype(dtype)
    expected = -np.sqrt(np.square(a.astype(np.float64)[:, None] - b).sum(axis=2))
    np.testing.assert_allclose(util.euclidean_sim(a, b), expected, rtol=1e-6 if dtype is np.float32 else 1e-12)
    assert np.diagonal(util.euclidean_sim(a, a)).tolist() == [0.0] * 40


def test_blocks_join() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.standard_normal((517, 3)), rng.standard_normal((1031, 3))
    for name in ("euclidean", "manhattan"):
        fast, slow = FUNCTIONS[name]
        np.testing.assert_allclose(fast(a, b), slow(a, b), rtol=1e-10)


@pytest.mark.parametrize("name", ["euclidean_sim", "manhattan_sim"])
def test_memory_is_that_of_the_result(name: str) -> None:
    a, b = np.zeros((2000, 128), np.float32), np.ones((1500, 128), np.float32)
    tracemalloc.start()
    scores = getattr(util, name)(a, b)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * scores.nbytes + 20e6  # all differences at once would be 1,536 MB


FORMS = [
    pytest.param(lambda x: x.tolist(), id="lists"),
    pytest.param(lambda x: tuple(map(tuple, x.tolist())), id="tuples"),
    pytest.param(lambda x: list(x), id="list of arrays"),
    pytest.param(lambda x: x.astype(np.float64), id="float64"),
    pytest.param(lambda x: x.astype(np.float16), id="float16"),
    pytest.param(lambda x: x.astype(np.int64), id="int64"),
    pytest.param(lambda x: x.astype(np.int8), id="int8"),
    pytest.param(lambda x: x.astype(">f4"), id="big-endian"),
    pytest.param(lambda x: np.asfortranarray(x), id="fortran"),
    pytest.param(lambda x: x[::-1].copy()[::-1], id="negative stride"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", GRIDS + PAIRWISE)
def test_forms_of_input(name: str, form: Any) -> None:
    a = np.array([[1, -2, 3], [4, 0, -1]], np.float32)
    given = form(a)
    found = getattr(util, name)(given, a)
    float64 = isinstance(given, np.ndarray) and given.dtype == np.float64
    assert found.dtype == (np.float64 if float64 else np.float32)
    np.testing.assert_allclose(found, getattr(util, name)(a, a), atol=1e-6)
    assert getattr(util, name)(a, given).dtype == found.dtype


@pytest.mark.parametrize("name", GRIDS)
def test_one_vector_is_one_row(name: str) -> None:
    function = getattr(util, name)
    assert function([1.0, 2.0], [[1.0, 2.0], [3.0, 4.0]]).shape == (1, 2)
    assert function(np.ones(2), np.ones(2)).shape == (1, 1)
    assert getattr(util, f"pairwise_{name}")(np.ones(2), np.ones(2)).shape == (1,)
    assert getattr(util, f"pairwise_{name}")(np.ones((3, 2)), np.ones(2)).shape == (3,)


@pytest.mark.parametrize("name", GRIDS)
def test_empty_sides(name: str) -> None:
    function, some = getattr(util, name), np.ones((3, 4))
    assert function([], some).shape == (0, 3)
    assert function(some, np.empty(0)).shape == (3, 0)
    assert function(np.empty((0, 4)), some).shape == (0, 3)
    assert function([], []).shape == (0, 0)
    assert getattr(util, f"pairwise_{name}")([], []).shape == (0,)


@pytest.mark.parametrize("name", GRIDS + PAIRWISE)
def test_lengths_that_differ(name: str) -> None:
    expected = "vectors of 3 and of 4 dimensions cannot be compared: a has shape (2, 3), b has shape (2, 4)"
    with pytest.raises(DimensionMismatch, match=re.escape(expected)):
        getattr(util, name)(np.ones((2, 3)), np.ones((2, 4)))
    with pytest.raises(DimensionMismatch, match=re.escape("a has shape (0, 3)")):
        getattr(util, name)(np.ones((0, 3)), np.ones((2, 4)))


@pytest.mark.parametrize("name", PAIRWISE)
def test_pairwise_row_counts_that_differ(name: str) -> None:
    with pytest.raises(DimensionMismatch, match=re.escape("a has shape (2, 3), b has shape (4, 3)")):
        getattr(util, name)(np.ones((2, 3)), np.ones((4, 3)))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (["a", "b"], TypeError, "a must be vectors of numbers, but the list holds text; encode it first"),
        ([[1.0, 2.0], [1.0]], DimensionMismatch, "a must be vectors of one length: row 0 has 2 numbers, row 1 has 1"),
        ("text", TypeError, "a must be an array, a tensor or a list of vectors, not str"),
        (None, TypeError, "a must be an array, a tensor or a list of vectors, not NoneType"),
        (np.ones((2, 2), complex), TypeError, "a must be vectors of numbers, but the array holds dtype complex128"),
        ([None], TypeError, "a must be vectors of numbers, but the list holds dtype object"),
        (np.ones((2, 2, 2)), ValueError, "a must be one vector (d,) or rows of vectors (n, d), not shape (2, 2, 2)"),
        (np.float32(1), ValueError, "a must be one vector (d,) or rows of vectors (n, d), not shape ()"),
    ],
)
def test_what_are_no_vectors(bad: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        util.cos_sim(bad, np.ones((2, 2)))


def test_column_of_arrays() -> None:
    pandas = pytest.importorskip("pandas", reason="a data frame's column is one way to keep vectors")
    column = pandas.Series([np.array([1.0, 0.0]), np.array([0.0, 2.0])])
    assert util.dot_score(column, column).tolist() == [[1.0, 0.0], [0.0, 4.0]]


def test_inputs_are_left_alone() -> None:
    a = np.random.default_rng(3).standard_normal((4, 6)).astype(np.float32)
    a.flags.writeable = False
    for name in [*GRIDS, *PAIRWISE]:
        getattr(util, name)(a, a)
    util.normalize_embeddings(a)


@untimed
@given(arrays(np.float32, array_shapes(min_dims=1, max_dims=3), elements=st.floats(-10, 10, width=32)))
def test_normalized_length(x: np.ndarray) -> None:
    found = util.normalize_embeddings(x)
    assert found.shape == x.shape
    lengths = np.linalg.norm(found.astype(np.float64), axis=-1)
    np.testing.assert_allclose(lengths, np.any(x != 0, axis=-1), atol=1e-6)


def test_truncate() -> None:
    x = np.arange(12.0).reshape(3, 4)
    assert util.truncate_embeddings(x, 2).tolist() == [[0, 1], [4, 5], [8, 9]]
    assert util.truncate_embeddings(x[0], 3).tolist() == [0, 1, 2]
    assert util.truncate_embeddings(x.tolist(), 1).tolist() == [[0], [4], [8]]
    assert util.truncate_embeddings(x, None).shape == util.truncate_embeddings(x, 9).shape == (3, 4)
    assert np.shares_memory(util.truncate_embeddings(x, 2), x)
    with pytest.raises(ValueError, match="truncate_dim must be at least 1 or None, not 0"):
        util.truncate_embeddings(x, 0)


def test_similarity_function() -> None:
    assert SimilarityFunction.possible_values() == ["cosine", "dot", "euclidean", "manhattan"]
    assert SimilarityFunction.DOT is SimilarityFunction.DOT_PRODUCT
    assert SimilarityFunction("dot") is SimilarityFunction.DOT_PRODUCT
    for value, name in zip(SimilarityFunction.possible_values(), GRIDS, strict=True):
        for spelled in (value, SimilarityFunction(value)):
            assert SimilarityFunction.to_similarity_fn(spelled) is getattr(util, name)
            assert SimilarityFunction.to_similarity_pairwise_fn(spelled) is getattr(util, f"pairwise_{name}")


@pytest.mark.parametrize("convert", [SimilarityFunction.to_similarity_fn, SimilarityFunction.to_similarity_pairwise_fn])
def test_unknown_similarity_function(convert: Any) -> None:
    expected = "'cosinus' is not a similarity function: use one of ['cosine', 'dot', 'euclidean', 'manhattan']"
    with pytest.raises(ValueError, match=re.escape(expected)):
        convert("cosinus")
