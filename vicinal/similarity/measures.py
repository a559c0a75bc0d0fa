"""What a search maximises: a fast first pass whose error is known, and an exact score for the few that matter.

The first pass is a float32 matrix product over a block of queries and a block of the corpus. It returns values that
rank as the scores do, and for each query a margin: no value is further from the true one than that. Candidates within
the margins are then scored in float64, so that hits and their order do not depend on how a product was blocked or
rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import NonFiniteEmbedding
from vicinal.similarity import distances, scores
from vicinal.similarity.arrays import (
    Doubles,
    Floats,
    Matrix,
    align,
    as_float,
    is_tensor,
    name_rows,
    on_host,
    row_norms,
    tensors,
    to_host,
    unit,
)

_EPS = float(np.finfo(np.float32).eps)
_SAFE = (1e-15, 1e15)  # lengths between which float32 products neither overflow nor vanish
_LONGEST = 1e150
_DENSE = 1.5  # rows in a stretch for each that is wanted of it, up to which the stretch is taken whole
_NEAR_UNIT = 1e-4

ScoreFunction: TypeAlias = Callable[[Any, Any], Any]
FirstPass: TypeAlias = tuple[Floats, Doubles]


@dataclass(frozen=True)
class Block:
    """Some rows, ready for the first pass."""

    source: Matrix  # as they were given
    rows: Matrix  # float32; float64 if float32 could not hold their products
    norms: Doubles  # (n,)
    off_unit: float = np.inf  # no length is further from 1


@dataclass(frozen=True, eq=False)
class Prepared:
    """A corpus that is searched more than once: float32 rows whose lengths are known, all or some of them.

    Attributes:
        rows: (n, d), a memory map will do.
        norms: (n,), as `block` has them.
        chosen: the row numbers that take part, ascending; None is all. A search counts among these.
    """

    rows: NDArray[np.float32]
    norms: Doubles
    chosen: NDArray[np.int64] | None = None

    @cached_property
    def off_unit(self) -> float:
        """How far the length of a row is from 1 at most; infinite where float32 may not hold products of all rows."""
        low, high = self.norms.min(initial=1.0), self.norms.max(initial=1.0)
        return float(max(1.0 - low, high - 1.0)) if _SAFE[0] < low and high < _SAFE[1] else np.inf

    def __len__(self) -> int:
        return len(self.rows if self.chosen is None else self.chosen)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows that take part, dimensions)."""
        return len(self), self.rows.shape[1]

    def __getitem__(self, wanted: Any) -> NDArray[np.float32]:
        """Some of the rows that take part."""
        return np.asarray(self.rows[wanted if self.chosen is None else self.chosen[wanted]])

    def block(self, start: int, stop: int, name: str) -> tuple[Block, NDArray[np.int64] | None]:
        """Consecutive rows of those that take part, copied only where they lie far apart.

        Returns:
            A block, and which of its rows they are; None is all.
        """
        where: Any = slice(start, min(stop, len(self)))
        places = None
        if self.chosen is not None:
            numbers = self.chosen[where]
            first, last = (int(numbers[0]), int(numbers[-1]) + 1) if len(numbers) else (0, 0)
            where = numbers
            if last - first <= _DENSE * len(numbers):  # a product more costs less than copying a row
                where = slice(first, last)
                places = numbers - first if last - first > len(numbers) else None
        rows, norms = self.rows[where], self.norms[where]
        if self.off_unit < np.inf or ((norms > _SAFE[0]) & (norms < _SAFE[1])).all():
            return Block(rows, rows, norms, self.off_unit), places
        return block(rows, name, start), places


@dataclass(frozen=True)
class Measure:
    """A similarity to search by."""

    first: Callable[[Block, Block], FirstPass]  # (q, d), (c, d) -> values (q, c), margins (q,)
    exact: Callable[[Doubles, Doubles], Doubles] | None  # (p, d), (p, d) -> scores (p,); None: `first` gives the scores


def measure_of(score_function: ScoreFunction) -> Measure:
    """The measure of one of `vicinal.similarity.scores`, or one that calls a function of the user's."""
    for known, measure in _MEASURES:
        if known is score_function:
            return measure
    return Measure(partial(_called, score_function), None)


def block(source: Matrix, name: str, start: int = 0) -> Block:
    """Make rows ready.

    Args:
        source: (n, d) array or tensor of any numeric type.
        name: what to call them, and
        start: the number of the first row, in an error.

    Raises:
        NonFiniteEmbedding: a row holds nan or infinity; the rows are named.
        ValueError: a row is so long that its square overflows even in float64.
    """
    given = on_host(source)
    rows = _single(given)
    norms = _fast_norms(rows)
    doubtful = np.flatnonzero(~((norms > _SAFE[0]) & (norms < _SAFE[1])))
    if len(doubtful):
        wide = np.asarray(to_host(given[doubtful.tolist()]), dtype=np.float64)
        _check_finite(wide, doubtful + start, name)
        norms[doubtful] = row_norms(wide)
        lengths = norms[doubtful]
        _check_range(lengths, doubtful + start, name)
        if not ((lengths == 0) | ((lengths > _SAFE[0]) & (lengths < _SAFE[1]))).all():
            rows = _double(given)
    return Block(source, rows, norms)


def _check_finite(rows: Doubles, numbers: NDArray[np.int64], name: str) -> None:
    bad = numbers[~np.isfinite(rows).all(axis=1)]
    if len(bad):
        raise NonFiniteEmbedding(
            f"{name} holds nan or infinity in row {name_rows(bad)}: such a vector has no similarity to anything. "
            "Remove those rows, or find out what made them"
        )


def _check_range(lengths: Doubles, numbers: NDArray[np.int64], name: str) -> None:
    if (lengths > _LONGEST).any():
        row = numbers[int(lengths.argmax())]
        raise ValueError(
            f"{name} has a vector of length {lengths.max():.3g} in row {row}: above {_LONGEST:g} scores overflow"
        )


def _fast_norms(rows: Matrix) -> Doubles:
    """In float32, where they may overflow or vanish; `block` looks again at those."""
    if is_tensor(rows):
        return np.asarray(to_host(tensors().norms(rows)), dtype=np.float64)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows).astype(np.float64)))


def _single(matrix: Matrix) -> Matrix:
    if is_tensor(matrix):
        return matrix.float()
    with np.errstate(over="ignore", under="ignore"):  # what does not fit is found by its length
        return np.asarray(matrix, dtype=np.float32)


def _double(matrix: Matrix) -> Matrix:
    return matrix.double() if is_tensor(matrix) else np.asarray(matrix, dtype=np.float64)


def _product(queries: Block, corpus: Block) -> tuple[Floats, float]:
    """Dot products, and how far they may be off, relative to the lengths of the two vectors."""
    rounding = 2.0 * (corpus.rows.shape[1] + 8) * _EPS
    if is_tensor(corpus.rows):
        values, more = tensors().product(queries.rows, corpus.rows)
        return values, rounding + more
    if len(queries.rows) == 1:  # as fast as memory, or the processor's cache, is read
        return (corpus.rows @ queries.rows[0])[None], rounding
    # BLAS is a quarter faster this way round, since it packs the side that has few rows; turning the result is less.
    return np.ascontiguousarray((corpus.rows @ queries.rows.T).T), rounding


def cosine_first(queries: Block, corpus: Block) -> FirstPass:
    """Cosines times the length of the query."""
    values, rounding = _product(queries, corpus)
    if corpus.off_unit < _NEAR_UNIT:  # a product is its cosine, but for so much
        return values, (rounding + corpus.off_unit) * queries.norms
    inverse = np.divide(1.0, corpus.norms, out=np.zeros_like(corpus.norms), where=corpus.norms > 0)
    values *= inverse.astype(values.dtype)
    return values, rounding * queries.norms


def cosine_exact(queries: Doubles, corpus: Doubles) -> Doubles:
    lengths = row_norms(queries) * row_norms(corpus)
    cosines: Doubles = np.einsum("ij,ij->i", queries, corpus)
    safe = (lengths > 1e-140) & (lengths < 1e140)
    np.divide(cosines, lengths, out=cosines, where=safe)
    if not safe.all():  # zero vectors, or products that leave the range of float64
        cosines[~safe] = np.einsum("ij,ij->i", unit(queries[~safe]), unit(corpus[~safe]))
    return np.clip(cosines, -1.0, 1.0, out=cosines)


def _dot(queries: Block, corpus: Block) -> FirstPass:
    values, rounding = _product(queries, corpus)
    longest = corpus.norms.max(initial=0.0)
    return values, rounding * queries.norms * longest


def _dot_exact(queries: Doubles, corpus: Doubles) -> Doubles:
    return np.asarray(np.einsum("ij,ij->i", queries, corpus))


def _euclidean(queries: Block, corpus: Block) -> FirstPass:
    """|q|^2 - |q - c|^2 = 2 q.c - |c|^2."""
    values, rounding = _product(queries, corpus)
    values *= 2.0
    values -= np.square(corpus.norms).astype(values.dtype)
    reach = queries.norms + corpus.norms.max(initial=0.0)
    return values, 2.0 * rounding * np.square(reach)


def _euclidean_exact(queries: Doubles, corpus: Doubles) -> Doubles:
    return -row_norms(queries - corpus)


def _manhattan(queries: Block, corpus: Block) -> FirstPass:
    values: Floats = -to_host(distances.manhattan(*align(queries.rows, corpus.rows)))
    widest = np.abs(values).max(axis=1, initial=0.0).astype(np.float64)
    return values, 2.0 * (corpus.rows.shape[1] + 8) * _EPS * widest


def _manhattan_exact(queries: Doubles, corpus: Doubles) -> Doubles:
    return np.asarray(-np.abs(queries - corpus).sum(axis=1))


def _called(score_function: ScoreFunction, queries: Block, corpus: Block) -> FirstPass:
    """The user's function on what the user gave: tensors if either side came as one, else arrays."""
    given = score_function(*align(queries.source, corpus.source))
    values = np.asarray(to_host(as_float(given) if is_tensor(given) else given), dtype=np.float64)
    expected = (len(queries.norms), len(corpus.norms))
    if values.shape != expected:
        raise ValueError(
            f"score_function must return one score for each query and each corpus row: expected shape {expected}, "
            f"got {values.shape}"
        )
    if np.isnan(values).any():
        raise NonFiniteEmbedding("score_function returned nan, which cannot be ranked")
    return values, np.zeros(len(values))


_COSINE = Measure(cosine_first, cosine_exact)

_MEASURES: tuple[tuple[ScoreFunction, Measure], ...] = (
    (scores.cos_sim, _COSINE),
    (scores.pytorch_cos_sim, _COSINE),
    (scores.dot_score, Measure(_dot, _dot_exact)),
    (scores.euclidean_sim, Measure(_euclidean, _euclidean_exact)),
    (scores.manhattan_sim, Measure(_manhattan, _manhattan_exact)),
)
