"""Paraphrase mining: the most similar pairs within one collection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vicinal.similarity.arrays import Doubles, Indices, Vectors, as_rows, check_positive
from vicinal.similarity.measures import ScoreFunction, measure_of
from vicinal.similarity.scores import cos_sim
from vicinal.similarity.topk import top_k as _top_k

_NAMES = ("embeddings", "embeddings")


def paraphrase_mining(
    model: Any,
    sentences: Sequence[str],
    show_progress_bar: bool = False,
    batch_size: int = 32,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100000,
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: ScoreFunction = cos_sim,
    truncate_dim: int | None = None,
    prompt_name: str | None = None,
    prompt: str | None = None,
) -> list[list[float | int]]:
    """The pairs of sentences that are most alike, best first.

    Args:
        model: what has `encode`, such as a `SentenceTransformer`.
        sentences: texts.
        show_progress_bar, batch_size, truncate_dim, prompt_name, prompt: given to `model.encode`.
        query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function: as in `paraphrase_mining_embeddings`.

    Returns:
        Rows of [score, i, j] with i < j, as `paraphrase_mining_embeddings` gives them.
    """
    embeddings = model.encode(
        sentences,
        show_progress_bar=show_progress_bar,
        batch_size=batch_size,
        convert_to_numpy=True,
        truncate_dim=truncate_dim,
        prompt_name=prompt_name,
        prompt=prompt,
    )
    return paraphrase_mining_embeddings(
        embeddings, query_chunk_size, corpus_chunk_size, max_pairs, top_k, score_function
    )


def paraphrase_mining_embeddings(
    embeddings: Vectors,
    query_chunk_size: int = 5000,
    corpus_chunk_size: int = 100000,
    max_pairs: int = 500000,
    top_k: int = 100,
    score_function: ScoreFunction = cos_sim,
) -> list[list[float | int]]:
    """The pairs of vectors that are most alike, best first.

    A pair counts if either vector is among the `top_k` nearest of the other; it is listed once. Memory beyond the input
    is that of the pairs that are kept and of one chunk's search.

    Args:
        embeddings: (n, d) array, tensor or list of vectors.
        query_chunk_size: vectors to search for at a time, at most.
        corpus_chunk_size: vectors to compare them with at a time, at most.
        max_pairs: pairs to return, at most: the best.
        top_k: neighbours of each vector to consider.
        score_function: as in `semantic_search`; taken to be symmetric.

    Returns:
        Rows of [score, i, j] with i < j, by falling score, equal scores by rising i and j.

    Raises:
        NonFiniteEmbedding: a vector holds nan or infinity; its row is named.
        ValueError: a number is below 1.
    """
    check_positive(
        query_chunk_size=query_chunk_size, corpus_chunk_size=corpus_chunk_size, max_pairs=max_pairs, top_k=top_k
    )
    rows = as_rows(embeddings, "embeddings")
    measure = measure_of(score_function)
    scores, pairs = np.empty(0), np.empty(0, np.int64)
    for start in range(0, len(rows), query_chunk_size):
        queries = rows[start : start + query_chunk_size]
        found, neighbours = _top_k(queries, rows, top_k + 1, measure, query_chunk_size, corpus_chunk_size, _NAMES)
        more_scores, more_pairs = _pairs(found, neighbours, start, len(rows), top_k)
        scores, pairs = _best_pairs(
            np.concatenate([scores, more_scores]), np.concatenate([pairs, more_pairs]), max_pairs
        )
    first, second = np.divmod(pairs, max(1, len(rows)))
    return [[score, i, j] for score, i, j in zip(scores.tolist(), first.tolist(), second.tolist(), strict=True)]


def _pairs(scores: Doubles, neighbours: Indices, start: int, n: int, k: int) -> tuple[Doubles, Indices]:
    """Scores and pair numbers i * n + j (i < j) of the k nearest others of each row from `start` on."""
    own = np.arange(start, start + len(neighbours))[:, None]
    other = neighbours != own
    other &= np.cumsum(other, axis=1) <= k
    pairs = np.minimum(own, neighbours) * n + np.maximum(own, neighbours)
    return scores[other], pairs[other]


def _best_pairs(scores: Doubles, pairs: Indices, count: int) -> tuple[Doubles, Indices]:
    """The `count` best different pairs, best first; of two scores for one pair the earlier counts."""
    pairs, first = np.unique(pairs, return_index=True)
    scores = scores[first]
    order = np.lexsort((pairs, -scores))[:count]
    return scores[order], pairs[order]
