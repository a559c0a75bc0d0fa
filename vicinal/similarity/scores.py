"""How alike vectors are: every row with every row, or row by row.

Every function takes arrays, tensors, or lists of numbers or vectors. It computes in float64 if an input is float64,
else in float32, and returns a tensor (with its gradient, on its device) if an input is one, else a NumPy array.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from vicinal.errors import DimensionMismatch
from vicinal.similarity import distances
from vicinal.similarity.arrays import (
    Matrix,
    Vectors,
    align,
    as_float,
    as_matrix,
    as_rows,
    check_dimensions,
    is_tensor,
    row_norms,
    tensors,
    unit,
)


def cos_sim(a: Vectors, b: Vectors) -> Any:
    """Cosine similarity of every row of `a` with every row of `b`.

    Args:
        a: (n, d) array, tensor or list of vectors; a single (d,) vector counts as (1, d).
        b: (m, d), likewise.

    Returns:
        (n, m) in [-1, 1]; a tensor if either input is one, else a NumPy array. A zero vector scores 0.

    Raises:
        DimensionMismatch: the vectors of `a` and `b` differ in length; both shapes are named.

    Example:
        >>> cos_sim([[1.0, 0.0], [3.0, 4.0]], [0.0, 2.0])
        array([[0. ],
               [0.8]], dtype=float32)
    """
    a, b = _grid(a, b)
    return (unit(a) @ unit(b).T).clip(-1, 1)


def pytorch_cos_sim(a: Vectors, b: Vectors) -> Any:
    """The older name of `cos_sim`."""
    return cos_sim(a, b)


def dot_score(a: Vectors, b: Vectors) -> Any:
    """Dot product of every row of `a` with every row of `b`. Arguments and errors as in `cos_sim`.

    Returns:
        (n, m); a tensor if either input is one, else a NumPy array.
    """
    a, b = _grid(a, b)
    return a @ b.T


def euclidean_sim(a: Vectors, b: Vectors) -> Any:
    """Minus the Euclidean distance of every row of `a` from every row of `b`. Arguments and errors as in `cos_sim`.

    Returns:
        (n, m), 0 for equal rows, otherwise negative; a tensor if either input is one, else a NumPy array.
    """
    return -distances.euclidean(*_grid(a, b))


def manhattan_sim(a: Vectors, b: Vectors) -> Any:
    """Minus the Manhattan distance of every row of `a` from every row of `b`. Arguments and errors as in `cos_sim`.

    Returns:
        (n, m), 0 for equal rows, otherwise negative; a tensor if either input is one, else a NumPy array.
    """
    return -distances.manhattan(*_grid(a, b))


def pairwise_cos_sim(a: Vectors, b: Vectors) -> Any:
    """Cosine similarity of row i of `a` with row i of `b`.

    Args:
        a: (n, d) array, tensor or list of vectors; a single (d,) vector counts as (1, d).
        b: (n, d), likewise; a side of one row is compared with every row of the other.

    Returns:
        (n,) in [-1, 1]; a tensor if either input is one, else a NumPy array. A zero vector scores 0.

    Raises:
        DimensionMismatch: the shapes differ; both are named.
    """
    a, b = _pairs(a, b)
    return (unit(a) * unit(b)).sum(-1).clip(-1, 1)


def pairwise_dot_score(a: Vectors, b: Vectors) -> Any:
    """Dot product of row i of `a` with row i of `b`, (n,). Arguments and errors as in `pairwise_cos_sim`."""
    a, b = _pairs(a, b)
    return (a * b).sum(-1)


def pairwise_euclidean_sim(a: Vectors, b: Vectors) -> Any:
    """Minus the Euclidean distance of row i of `a` from row i of `b`, (n,). Otherwise as `pairwise_cos_sim`."""
    a, b = _pairs(a, b)
    difference = a - b
    if is_tensor(difference):
        return -tensors().norms(difference)
    return -row_norms(difference).astype(difference.dtype)


def pairwise_manhattan_sim(a: Vectors, b: Vectors) -> Any:
    """Minus the Manhattan distance of row i of `a` from row i of `b`, (n,). Otherwise as `pairwise_cos_sim`."""
    a, b = _pairs(a, b)
    return -abs(a - b).sum(-1)


def pairwise_angle_sim(x: Vectors, y: Vectors) -> Any:
    """The AnglE similarity of row i of `x` with row i of `y`: |cosine + sine|, (n,). Otherwise as `pairwise_cos_sim`.

    The two halves of a vector are the real and imaginary parts of a complex one, whose difference in angle gives the
    sine. Vectors of odd length count as if a zero followed.

    Source: Li and Li 2023, arXiv:2309.12871.
    """
    x, y = _pairs(x, y)
    x, y = unit(x), unit(y)
    half = (x.shape[1] + 1) // 2
    imaginary_x, imaginary_y = x[:, half:], y[:, half:]
    paired = imaginary_x.shape[1]  # one less than `half` if the length is odd: the zero that follows adds nothing
    sine = (imaginary_x * y[:, :paired] - x[:, :paired] * imaginary_y).sum(-1)
    return abs((x * y).sum(-1) + sine)


def normalize_embeddings(embeddings: Vectors) -> Any:
    """Every vector scaled to length 1; a zero vector stays zero.

    Args:
        embeddings: (..., d) array, tensor or list of vectors.

    Returns:
        The same shape; a tensor if a tensor came in, else a NumPy array.
    """
    return unit(as_float(as_matrix(embeddings, "embeddings")))


def truncate_embeddings(embeddings: Vectors, truncate_dim: int | None) -> Any:
    """The first `truncate_dim` numbers of every vector, without a copy where there is one to look into.

    Args:
        embeddings: (..., d) array, tensor or list of vectors.
        truncate_dim: how many to keep; None, or more than there are, keeps all.

    Raises:
        ValueError: `truncate_dim` is not positive.
    """
    if truncate_dim is not None and truncate_dim < 1:
        raise ValueError(f"truncate_dim must be at least 1 or None, not {truncate_dim}")
    return as_matrix(embeddings, "embeddings")[..., :truncate_dim]


class SimilarityFunction(Enum):
    """The similarity functions that a model can name."""

    COSINE = "cosine"
    DOT_PRODUCT = "dot"
    DOT = "dot"  # the same member
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"

    @classmethod
    def _missing_(cls, value: object) -> SimilarityFunction:
        raise ValueError(f"{value!r} is not a similarity function: use one of {cls.possible_values()}")

    @staticmethod
    def possible_values() -> list[str]:
        """The names that a model can give: ['cosine', 'dot', 'euclidean', 'manhattan']."""
        return [member.value for member in SimilarityFunction]

    @staticmethod
    def to_similarity_fn(similarity_function: str | SimilarityFunction) -> Callable[[Vectors, Vectors], Any]:
        """The function that compares every row with every row.

        Raises:
            ValueError: there is no function of that name.
        """
        return _FUNCTIONS[SimilarityFunction(similarity_function)][0]

    @staticmethod
    def to_similarity_pairwise_fn(similarity_function: str | SimilarityFunction) -> Callable[[Vectors, Vectors], Any]:
        """The function that compares row i with row i.

        Raises:
            ValueError: there is no function of that name.
        """
        return _FUNCTIONS[SimilarityFunction(similarity_function)][1]


_FUNCTIONS = {
    SimilarityFunction.COSINE: (cos_sim, pairwise_cos_sim),
    SimilarityFunction.DOT_PRODUCT: (dot_score, pairwise_dot_score),
    SimilarityFunction.EUCLIDEAN: (euclidean_sim, pairwise_euclidean_sim),
    SimilarityFunction.MANHATTAN: (manhattan_sim, pairwise_manhattan_sim),
}


def _grid(a: Vectors, b: Vectors) -> tuple[Matrix, Matrix]:
    """Both sides as float rows of equal length, with (0, 0) widened to the other's length."""
    a, b = as_rows(a, "a"), as_rows(b, "b")
    check_dimensions(a, b, ("a", "b"))
    a, b = align(a, b)
    width = max(a.shape[1], b.shape[1])
    return (a if a.shape[1] == width else a.reshape(0, width)), (b if b.shape[1] == width else b.reshape(0, width))


def _pairs(a: Vectors, b: Vectors) -> tuple[Matrix, Matrix]:
    a, b = _grid(a, b)
    if len(a) != len(b) and 1 not in (len(a), len(b)):
        raise DimensionMismatch(
            f"row i is compared with row i, so both sides need as many rows: a has shape {tuple(a.shape)}, "
            f"b has shape {tuple(b.shape)}"
        )
    return a, b
