"""Search by FAISS or USearch, over float or quantized vectors, with the candidates of quantized ones scored again."""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DimensionMismatch, VicinalWarning
from vicinal.extras import require
from vicinal.similarity.arrays import Vectors, as_rows, check_positive, to_host
from vicinal.similarity.quantization import (
    check_finite,
    dequantize,
    quantization_ranges,
    quantize_embeddings,
    step_sizes,
)
from vicinal.similarity.search import Hit

_NUMBERS = 1 << 22
"""Of the candidates that are scored again at once."""
_DTYPES: dict[str, Any] = {
    "float32": np.floating, "int8": np.int8, "uint8": np.uint8, "binary": np.int8, "ubinary": np.uint8,
}  # fmt: skip
_BITS = ("binary", "ubinary")

Index: TypeAlias = Any  # of FAISS or USearch
Result: TypeAlias = "tuple[list[list[Hit]], float] | tuple[list[list[Hit]], float, Index]"
Found: TypeAlias = "tuple[NDArray[Any], NDArray[np.int64]]"  # (queries, k) scores and corpus rows; -1 is none


def semantic_search_faiss(
    query_embeddings: Vectors,
    corpus_embeddings: Vectors | None = None,
    corpus_index: Index | None = None,
    corpus_precision: str = "float32",
    top_k: int = 10,
    ranges: Vectors | None = None,
    calibration_embeddings: Vectors | None = None,
    rescore: bool = True,
    rescore_multiplier: int = 2,
    exact: bool = True,
    output_index: bool = False,
) -> Result:
    """The `top_k` best corpus rows for every query by dot product (by fewest differing bits for "ubinary"), with FAISS.

    In a quantized corpus `top_k * rescore_multiplier` candidates are found, and scored again by the dot product of the
    float query with the candidate's restored vector. For bits they are found by the query's bits; for integers by the
    query scaled to the corpus's steps, so that `exact` misses none. (sentence-transformers finds them by the dot
    product with the query's integers, which count from the lowest value of each dimension: it misses many.)

    Args:
        query_embeddings: (q, d) floats, or quantized like the corpus; a single vector is one query.
        corpus_embeddings: (n, d), quantized to `corpus_precision`; or else
        corpus_index: a FAISS index that holds them.
        corpus_precision: "float32", "uint8" or "ubinary".
        top_k: hits a query.
        ranges: (2, d) of "uint8": those that the corpus was quantized with (`quantization_ranges`).
        calibration_embeddings: (m, d) vectors to take the ranges from, if `ranges` is None; without both they are taken
            from the queries, which is only right if the corpus was quantized with the same.
        rescore: score the candidates again, where the corpus is quantized and the queries are not.
        rescore_multiplier: how many more candidates are found for it.
        exact: compare with every row; else search an HNSW graph (16 neighbours), for "uint8" one by distance.
        output_index: return the index too, to search it again.

    Returns:
        For each query its hits, best first, `{"corpus_id": int, "score": float}`; the seconds that the search took;
        with `output_index` the index. Scores are dot products; without rescoring those of "uint8" are of the integers
        themselves, and those of "ubinary" are differing bits, fewest first (and those of a "uint8" graph
        squared distances, least first).

    Raises:
        MissingExtra: FAISS is not installed. ValueError: not exactly one of `corpus_embeddings` and `corpus_index`, or
        a precision that FAISS has not. TypeError: vectors of another precision. DimensionMismatch: of another length.

    Warns:
        VicinalWarning: the ranges are taken from the queries.

    >>> from vicinal.util import normalize_embeddings, quantization_ranges, quantize_embeddings
    >>> corpus = normalize_embeddings(np.random.default_rng(0).normal(size=(1000, 32)))
    >>> ranges = quantization_ranges(corpus)
    >>> small = quantize_embeddings(corpus, "uint8", ranges)
    >>> hits, seconds = semantic_search_faiss(corpus[7], small, corpus_precision="uint8", ranges=ranges, top_k=3)
    >>> hits[0][0]["corpus_id"]
    7
    """
    _check_corpus(corpus_embeddings, corpus_index, corpus_precision, ("float32", "uint8", "ubinary"), "FAISS")
    faiss: Any = require("faiss", "semantic_search_faiss")
    bits = corpus_precision == "ubinary"
    if corpus_index is None:
        corpus = _corpus(corpus_embeddings, corpus_precision)
        width = corpus.shape[1]
        if bits:
            corpus_index = faiss.IndexBinaryFlat(width * 8) if exact else faiss.IndexBinaryHNSW(width * 8, 16)
        elif exact:
            corpus_index = faiss.IndexFlatIP(width)
        else:
            # By dot products of integers that count from the lowest value all rows are alike: a graph finds nothing.
            metric = faiss.METRIC_L2 if corpus_precision == "uint8" else faiss.METRIC_INNER_PRODUCT
            corpus_index = faiss.IndexHNSWFlat(width, 16, metric)
        corpus_index.add(corpus)
    elif isinstance(corpus_index, faiss.IndexBinary) != bits:
        kind = type(corpus_index).__name__
        raise TypeError(f"corpus_precision={corpus_precision!r} does not fit corpus_index, which is a {kind}")
    index = corpus_index

    def search(queries: NDArray[Any], count: int) -> Found:
        scores, rows = index.search(queries, count)
        return scores, rows

    def restore(rows: NDArray[np.int64]) -> NDArray[Any]:
        return np.stack([index.reconstruct(row) for row in rows.tolist()]) if bits else index.reconstruct_batch(rows)

    width = index.d // 8 if bits else index.d
    hits, seconds = _searched(
        query_embeddings, corpus_precision, top_k, ranges, calibration_embeddings, rescore, rescore_multiplier, width,
        index.ntotal, search, restore,
        scaled=corpus_precision == "uint8" and index.metric_type == faiss.METRIC_INNER_PRODUCT,
    )  # fmt: skip
    return (hits, seconds, index) if output_index else (hits, seconds)


def semantic_search_usearch(
    query_embeddings: Vectors,
    corpus_embeddings: Vectors | None = None,
    corpus_index: Index | None = None,
    corpus_precision: str = "float32",
    top_k: int = 10,
    ranges: Vectors | None = None,
    calibration_embeddings: Vectors | None = None,
    rescore: bool = True,
    rescore_multiplier: int = 2,
    exact: bool = True,
    output_index: bool = False,
) -> Result:
    """`semantic_search_faiss` with USearch, for "float32", "int8", "ubinary" and "binary" corpora.

    Arguments, errors and warnings are the same, but for the index, which is one of USearch (an HNSW graph, which
    `exact` passes by), and `ranges`, which are of "int8".

    Returns:
        As `semantic_search_faiss`. Scores that are not of candidates scored again are USearch's distances, least
        first: 1 - cosine for "float32", 1 - dot product of the integers for "int8", differing bits for the others.

    >>> from vicinal.util import normalize_embeddings
    >>> corpus = normalize_embeddings(np.random.default_rng(0).normal(size=(1000, 32)))
    >>> small = quantize_embeddings(corpus, "binary")
    >>> hits, seconds = semantic_search_usearch(corpus[7], small, corpus_precision="binary", top_k=3)
    >>> hits[0][0]["corpus_id"]
    7
    """
    _check_corpus(
        corpus_embeddings, corpus_index, corpus_precision, ("float32", "int8", "ubinary", "binary"), "USearch"
    )
    require("usearch", "semantic_search_usearch")
    usearch: Any = importlib.import_module("usearch.index")
    bits = corpus_precision in _BITS
    metric, kind = {"float32": ("cos", "f32"), "int8": ("ip", "i8")}.get(corpus_precision, ("hamming", "b1"))
    if corpus_index is None:
        corpus = _corpus(corpus_embeddings, corpus_precision)
        corpus = _packed(corpus) if bits else corpus
        corpus_index = usearch.Index(ndim=corpus.shape[1] * (8 if bits else 1), metric=metric, dtype=kind)
        if len(corpus):
            corpus_index.add(np.arange(len(corpus)), corpus)
    elif corpus_index.dtype != usearch.ScalarKind[kind.upper()]:
        raise TypeError(
            f"corpus_precision={corpus_precision!r} does not fit corpus_index, which holds {corpus_index.dtype.name}"
        )
    index = corpus_index

    def search(queries: NDArray[Any], count: int) -> Found:
        matches = index.search(_packed(queries) if bits else queries, count=count, exact=exact)
        scores, rows = np.atleast_2d(matches.distances), np.atleast_2d(matches.keys).astype(np.int64)
        counts: NDArray[Any] = np.asarray(getattr(matches, "counts", rows.shape[1])).reshape(-1, 1)
        return scores, np.where(np.arange(rows.shape[1]) < counts, rows, -1)

    def restore(rows: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(index.get(rows)).reshape(len(rows), -1)

    width = index.ndim // 8 if bits else index.ndim
    hits, seconds = _searched(
        query_embeddings, corpus_precision, top_k, ranges, calibration_embeddings, rescore, rescore_multiplier, width,
        len(index), search, restore, scaled=kind == "i8" and index.metric_kind == usearch.MetricKind.IP,
    )  # fmt: skip
    return (hits, seconds, index) if output_index else (hits, seconds)


def _check_corpus(embeddings: Any, index: Any, precision: str, known: tuple[str, ...], engine: str) -> None:
    if (embeddings is None) == (index is None):
        raise ValueError("give either corpus_embeddings or corpus_index" + (", not both" if index is not None else ""))
    if precision not in known:
        raise ValueError(f"corpus_precision must be one of {list(known)} for {engine}, not {precision!r}")


def _corpus(embeddings: Vectors, precision: str) -> NDArray[Any]:
    """The corpus's rows, which must be of that precision."""
    corpus = to_host(as_rows(embeddings, "corpus_embeddings"))
    if not np.issubdtype(corpus.dtype, _DTYPES[precision]):
        raise TypeError(
            f"corpus_precision={precision!r} needs corpus_embeddings of that precision, not {corpus.dtype}: "
            f"quantize_embeddings(corpus_embeddings, {precision!r}), or name the precision that they have"
        )
    if precision == "float32":
        check_finite(corpus, "corpus_embeddings")
    return np.ascontiguousarray(corpus, np.float32 if precision == "float32" else corpus.dtype)


def _packed(bits: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of bits, those of "binary" without their offset."""
    return bits.view(np.uint8) ^ np.uint8(0x80) if bits.dtype == np.int8 else bits


def _searched(
    embeddings: Vectors, precision: str, top_k: int, ranges: Vectors | None, calibration: Vectors | None, rescore: bool,
    multiplier: int, width: int, rows: int,
    search: Callable[[NDArray[Any], int], Found], restore: Callable[[NDArray[np.int64]], NDArray[Any]],
    scaled: bool = False,
) -> tuple[list[list[Hit]], float]:  # fmt: skip
    """Quantize the queries, search, score the candidates again.

    Args:
        width: of a row of the index, in its own numbers.
        rows: of the index.
        search: finds (queries, count) scores and rows, best first.
        restore: gives rows of the index back, as they were added.
        scaled: find candidates by `_scaled` queries.
    """
    check_positive(top_k=top_k, rescore_multiplier=multiplier)
    floats = to_host(as_rows(embeddings, "query_embeddings"))
    given = floats.dtype in (np.int8, np.uint8)
    if given and floats.dtype != _DTYPES[precision]:
        raise TypeError(f"query_embeddings are {floats.dtype}, which does not fit corpus_precision={precision!r}")
    queries = floats
    if not given:
        if precision in ("int8", "uint8"):
            ranges = _ranges(floats, ranges, calibration)
        check_finite(floats, "query_embeddings")
        queries = np.asarray(quantize_embeddings(floats, precision, ranges))  # type: ignore[arg-type]
    if queries.shape[1] != width and len(queries):
        raise DimensionMismatch(
            f"query_embeddings of shape {floats.shape} are {queries.shape[1]} numbers wide at "
            f"corpus_precision={precision!r}; the corpus has {width}"
        )
    again = rescore and not given and precision != "float32"
    if again and scaled:
        queries = _scaled(floats, ranges, precision)
    if not len(queries) or not rows:
        return [[] for _ in queries], 0.0
    count = min(top_k * (multiplier if again else 1), rows)
    start = time.perf_counter()
    scores, found = search(np.ascontiguousarray(queries), count)
    if again:
        scores, found = _rescored(floats, found, restore, precision, ranges, top_k)
    seconds = time.perf_counter() - start
    return [
        [{"corpus_id": row, "score": score} for row, score in zip(*hits, strict=True) if row >= 0]
        for hits in zip(found.tolist(), np.asarray(scores, np.float64).tolist(), strict=True)
    ], seconds


def _ranges(queries: NDArray[Any], ranges: Vectors | None, calibration: Vectors | None) -> Vectors:
    if ranges is not None:
        return ranges
    if calibration is not None:
        return quantization_ranges(calibration)
    if len(queries) == 1:
        raise ValueError(
            "ranges cannot be taken from a single query: give the ranges that the corpus was quantized with"
        )
    warnings.warn(
        "ranges are taken from the queries; scores are wrong unless the corpus was quantized with the same: give "
        "ranges or calibration_embeddings",
        VicinalWarning,
        stacklevel=4,
    )
    return quantization_ranges(queries)


def _scaled(queries: NDArray[Any], ranges: Vectors | None, precision: str) -> NDArray[Any]:
    """Queries q that rank integer rows c as the float queries rank restored rows: q . (steps * c + low) orders them as
    (q * steps) . c does. For int8 they are rounded, each to a scale of its own, which changes no order.
    """
    wide = queries * step_sizes(ranges)
    if precision == "uint8":
        return wide.astype(np.float32)
    top = np.abs(wide).max(axis=1, keepdims=True)
    return np.rint(wide * (127 / np.where(top == 0, 1, top))).astype(np.int8)


def _rescored(
    queries: NDArray[Any], found: NDArray[np.int64], restore: Callable[[NDArray[np.int64]], NDArray[Any]],
    precision: str, ranges: Vectors | None, top_k: int,
) -> Found:  # fmt: skip
    """The best of the candidates by the dot product of the float query with the restored row, best first."""
    dims = queries.shape[1]
    step = max(1, _NUMBERS // max(1, found.shape[1] * dims))
    scores = np.empty(found.shape)
    for start in range(0, len(found), step):
        part = found[start : start + step]
        known = np.unique(part[part >= 0])
        if not len(known):
            continue
        rows = restore(known)
        if precision in _BITS:
            rows = np.unpackbits(rows.astype(np.uint8), axis=1)[:, :dims]
        else:
            rows = dequantize(rows.astype(np.int8 if precision == "int8" else np.uint8), ranges)
        candidates = rows[np.searchsorted(known, np.maximum(part, known[0]))].astype(np.float64)
        scores[start : start + step] = np.einsum("ij,ikj->ik", queries[start : start + step], candidates)
    scores[found < 0] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(found, best, axis=1)
