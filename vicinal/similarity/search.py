"""Exact semantic search: the corpus vectors that are most like each query vector."""

from __future__ import annotations

from typing import Any, TypeAlias

from vicinal.similarity.arrays import Vectors, as_corpus, as_rows, beside, check_dimensions, check_positive
from vicinal.similarity.measures import ScoreFunction, measure_of
from vicinal.similarity.scores import cos_sim
from vicinal.similarity.topk import top_k as _top_k

Hit: TypeAlias = dict[str, Any]  # {"corpus_id": int, "score": float}


def semantic_search(
    query_embeddings: Vectors,
    corpus_embeddings: Vectors,
    query_chunk_size: int = 100,
    corpus_chunk_size: int = 500000,
    top_k: int = 10,
    score_function: ScoreFunction = cos_sim,
) -> list[list[Hit]]:
    """The `top_k` best corpus rows for every query, exactly.

    Hits and their order are those of a float64 comparison with every row, whatever the chunk sizes; of equal scores the
    lower corpus row comes first. Memory beyond the inputs is some tens of MB, whatever the corpus.

    Args:
        query_embeddings: (q, d) array, tensor or list of vectors; a single (d,) vector is one query.
        corpus_embeddings: (n, d), likewise; read in slices, so that a memory map, or what `load_vectors` gives, is
            never loaded whole.
        query_chunk_size: queries at a time, at most.
        corpus_chunk_size: corpus rows at a time, at most.
        top_k: hits a query.
        score_function: one of `vicinal.util`, or any `f(queries, corpus_rows)` that returns one score for each pair,
            higher is better. It is given tensors if either input is one, else arrays, and may return either.

    Returns:
        For each query its hits, best first: `{"corpus_id": int, "score": float}`. An empty corpus gives no hits, no
        queries give an empty list.

    Raises:
        DimensionMismatch: query and corpus vectors differ in length; both shapes are named.
        NonFiniteEmbedding: a vector holds nan or infinity; its row is named.
        ValueError: `top_k` or a chunk size is below 1, or `score_function` returned another shape.

    Example:
        >>> semantic_search([1.0, 0.0], [[0.0, 1.0], [2.0, 0.0]], top_k=1)
        [[{'corpus_id': 1, 'score': 1.0}]]
    """
    check_positive(query_chunk_size=query_chunk_size, corpus_chunk_size=corpus_chunk_size, top_k=top_k)
    queries = as_rows(query_embeddings, "query_embeddings")
    corpus = as_corpus(corpus_embeddings, "corpus_embeddings")
    names = ("query_embeddings", "corpus_embeddings")
    check_dimensions(queries, corpus, names)
    scores, rows = _top_k(
        beside(queries, corpus), corpus, top_k, measure_of(score_function), query_chunk_size, corpus_chunk_size, names
    )
    return [
        [{"corpus_id": row, "score": score} for row, score in zip(*hits, strict=True)]
        for hits in zip(rows.tolist(), scores.tolist(), strict=True)
    ]


def information_retrieval(*args: Any, **kwargs: Any) -> list[list[Hit]]:
    """The older name of `semantic_search`."""
    return semantic_search(*args, **kwargs)
