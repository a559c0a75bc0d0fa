"""The k best corpus rows for every query, exactly, in bounded memory and at about the cost of the matrix product.

The corpus is read once, tile by tile. Of a tile's values only those that can still be among the k best are kept:
those above a floor that rises as better ones are seen. What lies within rounding of the k-th stays until the end, when
the few survivors are scored in float64. Equal scores go to the lower corpus row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.similarity.arrays import Doubles, Floats, Indices, Matrix, take
from vicinal.similarity.measures import Block, FirstPass, Measure, Prepared, block

_TILE_BYTES = 12 << 20  # of corpus rows in float32 at a time
_FEW = 8  # queries, fewer of which take as many times larger tiles of a corpus that is prepared
_TILE_SCORES = 1 << 22  # scores at a time
_CHUNK = 4096  # queries at a time, at most
_MORE = 32  # new candidates a query beyond k, from which those that lose are dropped
_GROUPS, _MEMBERS = 256, 4  # the largest of so many groups, of so many values at least, stand for a line of values
_PAIR_NUMBERS = 1 << 17  # float64 numbers at a time, when candidates are scored exactly

Exact: TypeAlias = Callable[[Indices, Indices], Doubles]  # query rows (p,), corpus rows (p,) -> scores (p,)


def top_k(
    queries: Matrix, corpus: Matrix, k: int, measure: Measure, query_rows: int, corpus_rows: int, names: tuple[str, str]
) -> tuple[Doubles, Indices]:
    """The best k corpus rows for every query.

    Args:
        queries: (q, d) array or tensor.
        corpus: (n, d), likewise, or `Prepared`; read in slices, so that a memory map will do.
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
    query_rows = max(1, min(query_rows, _CHUNK, len(queries), _TILE_SCORES // (4 * k)))
    chunks = []
    for start in range(0, len(queries), query_rows):
        ready = block(queries[start : start + query_rows], names[0], start)
        chunks.append((ready, _Best(len(ready.norms), k, _rescorer(ready, corpus, measure))))
    most = tile_rows(corpus.shape[1])
    if isinstance(corpus, Prepared):  # few queries leave a tile before the cache matters
        most *= max(1, _FEW // len(queries))
    step = max(1, min(corpus_rows, most, _TILE_SCORES // query_rows))
    if isinstance(corpus, Prepared) and len(queries) == 1 and len(corpus) <= step:
        return _alone(chunks[0][0], corpus, k, measure, names[1])
    for start in range(0, len(corpus), step):
        places: Indices | None = None
        if isinstance(corpus, Prepared):
            tile, places = corpus.block(start, start + step, names[1])
        else:
            tile = block(corpus[start : start + step], names[1], start)
        for ready, best in chunks:
            values, margin = measure.first(ready, tile)
            best.offer((values if places is None else values[:, places], margin), start)
    found = [best.finish() for _, best in chunks]
    return np.concatenate([scores for scores, _ in found]), np.concatenate([rows for _, rows in found])


def _alone(query: Block, corpus: Prepared, k: int, measure: Measure, name: str) -> tuple[Doubles, Indices]:
    """`top_k` of one query in one tile: the same in fewer steps, which are what a small corpus costs."""
    tile, places = corpus.block(0, len(corpus), name)
    values, margin = measure.first(query, tile)
    line = values if places is None else values[:, places]
    with np.errstate(over="ignore"):
        floor = (_reached(line, k) - 2.0 * margin).astype(line.dtype)
    ids = np.flatnonzero(line[0] >= floor[0])
    exact = _rescorer(query, corpus, measure)
    scores = line[0, ids].astype(np.float64) if exact is None else exact(np.zeros_like(ids), ids)
    best = np.argsort(-scores, kind="stable")[:k]
    return scores[None, best], ids[None, best]


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
        self.kth = np.full(queries, -np.inf)  # at least k values seen reach it
        self.margin = np.zeros(queries)
        self.seen = 0
        self.counts = np.zeros(queries, np.int64)  # candidates of each query
        self.kept = 0  # candidates that the last clearing left
        self.crowd = 2 * k + 64  # candidates of one query that are worth an exact score
        self.parts: list[tuple[Indices, Indices, Floats]] = []  # query rows, corpus rows, values

    def offer(self, first: FirstPass, start: int) -> None:
        """Take the candidates among the values of a tile that begins at corpus row `start`, after all others."""
        values, margin = first
        np.maximum(self.margin, margin, out=self.margin)
        places = np.flatnonzero(self._candidates(values))
        rows, columns = np.divmod(places, values.shape[1])
        self.parts.append((rows, columns + start, values.ravel()[places]))
        self.seen += values.shape[1]
        self.counts += np.bincount(rows, minlength=self.queries)
        new = int(self.counts.sum()) - self.kept
        if new >= self.queries * (self.k + _MORE) or self.counts.max() >= 2 * self.crowd:
            self._clear()

    def finish(self) -> tuple[Doubles, Indices]:
        """Scores and corpus rows, (queries, k) each, best first."""
        self._clear()
        rows, ids, values = self.parts[0]
        scores = values.astype(np.float64) if self.exact is None else self.exact(rows, ids)
        best = self._first_k(rows, scores)
        return scores[best], ids[best]

    def _floor(self, values: Floats) -> Floats:
        """What a value of an earlier or the next tile must reach to be a candidate, (queries,)."""
        with np.errstate(over="ignore"):  # a floor that float32 cannot hold is out of reach, or no floor
            return (self.kth - 2.0 * self.margin).astype(values.dtype)

    def _candidates(self, values: Floats) -> NDArray[np.bool_]:
        if self.seen >= self.k:
            floor = self._floor(values)
            # A later row that is no better than this loses: where values are exact, to the lower row of the k-th.
            mask = values > floor[:, None]
            if np.count_nonzero(mask) <= self.queries * self.crowd:
                return np.asarray(mask)
        if values.shape[1] > self.k:
            np.maximum(self.kth, _reached(values, self.k), out=self.kth)
        return np.asarray(values >= self._floor(values)[:, None])

    def _clear(self) -> None:
        """Drop what can no longer be among the k best; where near ties are many, score them now and keep k."""
        rows, ids, values = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        order = np.argsort(rows.astype(np.int16), kind="stable")  # by query, then by corpus row; a radix sort
        rows, ids, values = rows[order], ids[order], values[order]
        np.maximum(self.kth, _kth_largest(self._table(rows, values)[0], self.k), out=self.kth)
        keep = values >= self._floor(values)[rows]
        crowded = np.flatnonzero(np.bincount(rows[keep], minlength=self.queries) > self.crowd)
        if len(crowded):
            tied = np.flatnonzero(keep & np.isin(rows, crowded))
            scores = values[tied] if self.exact is None else self.exact(rows[tied], ids[tied])
            keep[tied] = False
            keep[tied[self._first_k(rows[tied], scores)[crowded]]] = True
        self.parts = [(rows[keep], ids[keep], values[keep])]
        self.counts = np.bincount(rows[keep], minlength=self.queries)
        self.kept = int(self.counts.sum())

    def _first_k(self, rows: Indices, scores: Floats) -> Indices:
        """Places of each query's k best, best first, (queries, k); nonsense for a query of fewer candidates."""
        table, starts = self._table(rows, scores)
        return np.asarray(starts[:, None] + np.argsort(-table, axis=1, kind="stable")[:, : self.k])

    def _table(self, rows: Indices, values: Floats) -> tuple[Floats, Indices]:
        """Values that are sorted by query as one line a query, ended by -inf, and where each query's begin."""
        starts = np.searchsorted(rows, np.arange(self.queries))
        places = np.arange(len(rows)) - starts[rows]
        table = np.full((self.queries, places.max(initial=0) + 1), -np.inf, values.dtype)
        table[rows, places] = values
        return table, starts


def _reached(values: Floats, k: int) -> Doubles:
    """What at least k values of each line reach, (lines,): little less than the k-th largest, and found faster."""
    groups = max(_GROUPS, 16 * k)
    if (members := values.shape[1] // groups) >= _MEMBERS:  # k groups' largest are k values
        values = values[:, : groups * members].reshape(len(values), members, groups).max(axis=1)
    return _kth_largest(values, k)


def _kth_largest(table: Floats, k: int) -> Doubles:
    """Of each line, (lines,); -inf where there are fewer."""
    if table.shape[1] < k:
        return np.full(len(table), -np.inf)
    return np.asarray(np.partition(table, -k, axis=1)[:, -k], np.float64)
