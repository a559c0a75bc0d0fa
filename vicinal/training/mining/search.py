"""The candidates of every query, by vectors and, if there is one, by a cross-encoder; in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from vicinal import report
from vicinal.errors import Unavailable
from vicinal.extras import require
from vicinal.similarity import SimilarityFunction
from vicinal.similarity.arrays import Doubles, Indices, Matrix
from vicinal.similarity.measures import measure_of
from vicinal.similarity.topk import score_pairs, top_k
from vicinal.training.mining.limits import Candidates
from vicinal.training.mining.pairs import Pairs

Measured: TypeAlias = Callable[[Doubles, Doubles], Doubles]  # (p, d), (p, d) -> (p,)
_CORPUS_ROWS = 500_000
_NAMES = ("queries", "documents")
_PAIRS = 4096
"""Pairs that a cross-encoder is given at a time, about."""


def search(
    queries: Matrix, documents: Matrix, pairs: Pairs, k: int, function: str, query_rows: int, faiss: bool
) -> Candidates:
    """The k documents nearest to each query; scores in float64 of unit vectors.

    Args:
        queries, documents: their unit vectors, (q, d) and (n, d).
        k: how many; fewer where there are fewer documents.
        function: the name of the model's similarity function.
        query_rows: queries at a time, at most.
        faiss: search with FAISS, which is exact too.

    Raises:
        MissingExtra: FAISS is asked for and not installed.
        Unavailable: FAISS has no exact search for this function.
    """
    measure = measure_of(SimilarityFunction.to_similarity_fn(function))
    exact = measure.exact
    assert exact is not None  # every named function has one
    if faiss:
        if function == SimilarityFunction.MANHATTAN.value:
            raise Unavailable("use_faiss=True finds neighbours by angle, and this model compares by manhattan distance")
        scores, ids = _by_faiss(queries, documents, min(k, len(documents)), query_rows, exact)
    else:
        scores, ids = top_k(queries, documents, k, measure, query_rows, _CORPUS_ROWS, _NAMES)
    return Candidates(ids, scores, score_pairs(queries, documents, exact)(pairs.owner, pairs.positive))


def _by_faiss(queries: Matrix, documents: Matrix, k: int, rows: int, exact: Measured) -> tuple[Doubles, Indices]:
    """By inner product, in the order of which unit vectors have every angle and distance; then scored in float64."""
    library = require("faiss", "use_faiss=True")
    index = library.IndexFlatIP(documents.shape[1])
    for start in range(0, len(documents), _CORPUS_ROWS):
        index.add(np.ascontiguousarray(documents[start : start + _CORPUS_ROWS], np.float32))
    parts = [
        index.search(np.ascontiguousarray(queries[start : start + rows], np.float32), k)[1]
        for start in range(0, len(queries), rows)
    ]
    ids = np.concatenate(parts).astype(np.int64)
    owner = np.repeat(np.arange(len(ids)), ids.shape[1])
    return score_pairs(queries, documents, exact)(owner, ids.ravel()).reshape(ids.shape), ids


def rescore(found: Candidates, pairs: Pairs, cross_encoder: Any, batch_size: int, progress: bool) -> Candidates:
    """The same candidates with a cross-encoder's scores.

    Raises:
        ValueError: it gives several scores a pair.
    """
    scores = np.empty(found.ids.shape)
    step = max(1, _PAIRS // max(1, found.ids.shape[1]))
    bar = report.bar(len(found.ids), "Rescoring") if progress else None
    for start in range(0, len(found.ids), step):
        ids = found.ids[start : start + step]
        owner = np.repeat(np.arange(start, start + len(ids)), ids.shape[1])
        scores[start : start + step] = _scored(pairs, owner, ids.ravel(), cross_encoder, batch_size).reshape(ids.shape)
        if bar is not None:
            bar.update(len(ids))
    if bar is not None:
        bar.close()
    own = _scored(pairs, pairs.owner, pairs.positive, cross_encoder, batch_size)
    return Candidates(found.ids, scores, own)


def _scored(pairs: Pairs, owner: Indices, ids: Indices, cross_encoder: Any, batch_size: int) -> Doubles:
    texts = [(pairs.queries[i], pairs.documents[j]) for i, j in zip(owner.tolist(), ids.tolist(), strict=True)]
    scores = np.asarray(cross_encoder.predict(texts, batch_size=batch_size, show_progress_bar=False), np.float64)
    if scores.shape != (len(texts),):
        raise ValueError(
            f"the cross-encoder must give one score a pair, but gives an array of shape {scores.shape} "
            f"for {len(texts)} pairs"
        )
    return scores
