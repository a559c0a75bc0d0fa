"""The k best corpus rows for every query, exactly, in bounded memory and at about the cost of the matrix product.

The corpus is read once, tile by tile. Of a tile's values only those that can still be among the k best are kept: those
above a floor that rises as better ones are seen. What lies within rounding of the k-th stays until the end, when the few
survivors are scored in float64. Equal scores go to the lower corpus row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.similarity.arrays import Doubles, Floats, Indices, Matrix, take
from vicinal.similarity.measures import Block, FirstPass, Measure, block

_TILE_BYTES = 8 << 20  # of corpus rows in float32 at a time
_TILE_SCORES = 1 << 22  # scores at a time
_CHUNK = 4096  # queries at a time, at most
_PAIR_NUMBERS = 1 << 20  # float64 numbers at a time, when candidates are scored exactly

Exact: TypeAlias = Callable[[Indices, Indices], Doubles]  # query rows (p,), corpus rows (p,) -> scores (p,)


def top_k(
    queries: Matrix, corpus: Matrix, k: int, measure: Measure, query_rows: int, corpus_rows: int, names: tuple[str, str]
) -> tuple[Doubles, Indices]:
    """The best k corpus rows for every query.

    Args:
        queries: (q, d) array or tensor.
        corpus: (n, d), likewise; read in slices, so that a memory map will do.
        k: how many; at least 1.
        measure: what to maximise.
        query_rows: queries at a time, at most.
        corpus_rows: corpus rows at a time, at most.
        names: what to call both in an error.

    Returns:
        Scores (q, min(k, n)), best first, and the corpus rows they belong to. Equal scores: lower row first.

    Raises:
        NonFiniteEmbedding: a vector holds nan or infinity.
    """
    k = min(k, len(corpus))
    if k == 0 or len(queries) == 0:
        return np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    query_rows = min(query_rows, _CHUNK, len(queries))
    chunks = []
    for start in range(0, len(queries), query_rows):
        ready = block(queries[start : start + query_rows], names[0], start)
        chunks.append((ready, _Best(len(ready.norms), k, _rescorer(ready, corpus, measure))))
    step = max(1, min(corpus_rows, tile_rows(corpus.shape[1]), _TILE_SCORES // query_rows))
    for start in range(0, len(corpus), step):
        tile = block(corpus[start : start + step], names[1], start)
        for ready, best in chunks:
            best.offer(measure.first(ready, tile), start)
    found = [best.finish() for _, best in chunks]
    return np.concatenate([scores for scores, _ in found]), np.concatenate([rows for _, rows in found])


def tile_rows(dimensions: int) -> int:
    """How many corpus rows make a tile."""
    return max(1, _TILE_BYTES // (4 * max(1, dimensions)))


def score_pairs(queries: Matrix, corpus: Matrix, measure: Callable[[Doubles, Doubles], Doubles]) -> Exact:
    """A function that scores pairs of rows in float64, a few MB at a time."""
    step = max(1, _PAIR_NUMBERS // max(1, corpus.shape[1]))

    def exact(rows: Indices, ids: Indices) -> Doubles:
        scores = np.empty(len(rows))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            scores[part] = measure(take(queries, rows[part]), take(corpus, ids[part]))
        return scores

    return exact


def _rescorer(queries: Block, corpus: Matrix, measure: Measure) -> Exact | None:
    return None if measure.exact is None else score_pairs(queries.source, corpus, measure.exact)


class _Best:
    """The candidates of one chunk of queries: at least the k best of what was offered, and few more."""

    def __init__(self, queries: int, k: int, exact: Exact | None) -> None:
        self.queries, self.k, self.exact = queries, k, exact
        self.floor = np.full(queries, -np.inf)  # what a value must reach to be a candidate
        self.margin = np.zeros(queries)
        self.seen = 0
        self.fresh = 0  # candidates since the floor was last raised
        self.parts: list[tuple[Indices, Indices, Floats]] = []  # query rows, corpus rows, values

    def offer(self, first: FirstPass, start: int) -> None:
        """Take the candidates among the values of a tile that begins at corpus row `start`."""
        values, margin = first
        np.maximum(self.margin, margin, out=self.margin)
        places = np.flatnonzero(self._candidates(values))
        rows, columns = np.divmod(places, values.shape[1])
        self.parts.append((rows, columns + start, values.ravel()[places]))
        self.seen += values.shape[1]
        self.fresh += len(places)
        if self.fresh >= self.queries * self.k:
            self._raise_floor()

    def finish(self) -> tuple[Doubles, Indices]:
        """Scores and corpus rows, (queries, k) each, best first."""
        rows, ids, values = self._joined()
        scores = values.astype(np.float64) if self.exact is None else self.exact(rows, ids)
        order = self._first_k(rows, ids, scores)
        return scores[order].reshape(self.queries, self.k), ids[order].reshape(self.queries, self.k)

    def _candidates(self, values: Floats) -> NDArray[np.bool_]:
        floor = self.floor
        if self.seen >= self.k:
            mask = values >= floor.astype(values.dtype)[:, None]
            if np.count_nonzero(mask) <= self.queries * max(2 * self.k, 64):
                return np.asarray(mask)
        if values.shape[1] > self.k:  # the k-th best of this tile is a floor of its own
            kth = np.partition(values, -self.k, axis=1)[:, -self.k].astype(np.float64)
            floor = np.maximum(floor, kth - 2.0 * self.margin)
        return np.asarray(values >= floor.astype(values.dtype)[:, None])

    def _raise_floor(self) -> None:
        """Drop what can no longer be among the k best; if near ties are many, score them now and keep k."""
        rows, ids, values = self._joined()
        order = np.lexsort((-values, rows))
        kth = order[self._rank(rows[order]) == self.k - 1]
        lowest = np.full(self.queries, -np.inf)
        lowest[rows[kth]] = values[kth]
        kept = np.flatnonzero(values >= (lowest - 2.0 * self.margin).astype(values.dtype)[rows])
        if len(kept) > self.queries * (2 * self.k + 64):
            rows, ids, values = rows[kept], ids[kept], values[kept]
            kept = self._first_k(rows, ids, values if self.exact is None else self.exact(rows, ids))
            np.minimum.at(lowest, rows[kept], values[kept])
        floor = (lowest - 2.0 * self.margin).astype(values.dtype)
        if self.seen >= self.k:  # without a margin values are exact, and a later row that equals the k-th loses to it
            floor = np.where(self.margin == 0, np.nextafter(floor, values.dtype.type(np.inf)), floor)
        self.floor = floor.astype(np.float64)
        self.parts = [(rows[kept], ids[kept], values[kept])]
        self.fresh = 0

    def _joined(self) -> tuple[Indices, Indices, Floats]:
        rows, ids, values = zip(*self.parts, strict=True)
        return np.concatenate(rows), np.concatenate(ids), np.concatenate(values)

    def _first_k(self, rows: Indices, ids: Indices, scores: Floats) -> Indices:
        """Places of the k best of each query, query by query, best first, ties to the lower corpus row."""
        order = np.lexsort((ids, -scores, rows))
        return order[self._rank(rows[order]) < self.k]

    def _rank(self, rows: Indices) -> Indices:
        """The place of each entry within its query, for sorted query rows."""
        return np.arange(len(rows)) - np.searchsorted(rows, np.arange(self.queries))[rows]
