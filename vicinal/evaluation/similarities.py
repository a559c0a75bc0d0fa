"""The similarity functions that an evaluator scores with: those that its user named, else the model's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.similarity import SimilarityFunction
from vicinal.similarity.arrays import as_rows
from vicinal.similarity.measures import block, measure_of
from vicinal.similarity.topk import score_pairs


def checked(
    names: Sequence[str | SimilarityFunction] | None, main: str | SimilarityFunction | None = None
) -> list[str]:
    """Names of similarity functions, each one that there is; of `main` alone where there are none.

    Raises:
        ValueError: there is no such function.
    """
    given = list(names or ([main] if main else []))
    return [SimilarityFunction(name).value for name in given]


def names_for(model: Any, given: Sequence[str]) -> list[str]:
    """The names that were given, else the one of the model."""
    return list(given) or [SimilarityFunction(model.similarity_fn_name).value]


def grid_functions(model: Any) -> dict[str, Callable[[Any, Any], Any]]:
    """The model's similarity of every row with every row, by its name.

    A method that vicinal's models have is replaced by the function that it calls, which a search knows to compute
    exactly; a user's own is called as it is.
    """
    name = str(model.similarity_fn_name)
    if getattr(getattr(type(model), "similarity", None), "__module__", "") == "vicinal.sentence_transformer":
        return {name: SimilarityFunction.to_similarity_fn(name)}
    return {name: model.similarity}


def pair_scores(name: str, a: Any, b: Any) -> NDArray[np.float64]:
    """The similarity of row i of `a` with row i of `b`, (n,), in float64: what is equal stays equal.

    Args:
        name: of the similarity function.
        a, b: (n, d) vectors.

    Raises:
        NonFiniteEmbedding: a vector holds nan or infinity; its row is named.
    """
    a, b = as_rows(a, "embeddings1"), as_rows(b, "embeddings2")
    for rows, called in ((a, "embeddings1"), (b, "embeddings2")):
        block(rows, called)
    measure = measure_of(SimilarityFunction.to_similarity_fn(name))
    assert measure.exact is not None  # it is None for a user's own function alone
    pairs = np.arange(len(a))
    return score_pairs(a, b, measure.exact)(pairs, pairs)


def scores_of(function: Callable[[Any, Any], Any], query: Any, documents: Any) -> NDArray[np.float64]:
    """Scores of one query vector with each document's, (documents,), in float64 where the function is one of ours.

    Raises:
        ValueError: a user's function gives another number of scores.
    """
    query, documents = as_rows(query, "query embedding"), as_rows(documents, "document embeddings")
    measure = measure_of(function)
    if measure.exact is None:
        return np.asarray(measure.first(block(query, "query embedding"), block(documents, "document embeddings"))[0][0])
    rows = np.arange(len(documents))
    return score_pairs(query, documents, measure.exact)(np.zeros_like(rows), rows)
