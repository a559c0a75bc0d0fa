"""Searches of an index: a view that follows what is committed, and hits made of the chunks that it finds."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DimensionMismatch, InvalidInput
from vicinal.retrieval.hit import Hit
from vicinal.sentence_transformer import SentenceTransformer
from vicinal.similarity import SimilarityFunction
from vicinal.similarity.arrays import Doubles, Indices
from vicinal.similarity.measures import Measure, measure_of
from vicinal.store.index import builder, derived, documents, filters, schema
from vicinal.store.index.database import Database, State
from vicinal.store.index.documents import Document
from vicinal.store.index.space import Space
from vicinal.store.index.view import View, catch_up, load

_DEEPER = 4
_FILTERS = 16
"""Filters whose chunks are remembered."""


class Searcher:
    """Answers searches of one index, of any number of threads.

    Args:
        database: of the index.
        maker: makes its derived folders.
    """

    def __init__(self, database: Database, maker: builder.Builder) -> None:
        self._database, self._builder = database, maker
        self._view: View | None = None
        self._lock = threading.Lock()
        self._filtered: OrderedDict[tuple[int, str, str], Indices] = OrderedDict()

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        where: Mapping[str, Any] | None,
        chunks: bool,
        exact: bool,
        check: Callable[[Any], None],
    ) -> list[list[Hit]]:
        """The hits of each query, see `Index.search`.

        Args:
            check: is given the index's settings, and raises where they are not those that it was opened with.
        """
        wanted = None if where is None else filters.condition(where)
        with self._database.snapshot() as (db, state):
            now, measure = self._now(db, state, check)
            only = None if wanted is None or where is None else self._chosen(db, state, filters.key(where), wanted)
            total = state.chunks if only is None else len(only)
            rows = _Rows(db, self._database.file, chunks or state.chunks == state.documents)
            exact = exact or only is not None or now.graph is None
            found = _deepened(now, queries, k, total, measure, only, exact, rows)
            rows.read([chunk for _, numbers in found for chunk in numbers])
            return [list(map(rows.hit, *one)) for one in found]

    def nearest(
        self, queries: NDArray[np.float32], k: int, exact: bool, check: Callable[[Any], None]
    ) -> tuple[Doubles, Indices]:
        """Scores and numbers of each query's nearest chunks, (q, k) each: what `search` makes hits of."""
        with self._database.snapshot() as (db, state):
            now, measure = self._now(db, state, check)
            return now.best(queries, k, measure, None, exact)

    def _now(self, db: sqlite3.Connection, state: State, check: Callable[[Any], None]) -> tuple[View, Measure]:
        settings = self._database.record(db, "settings")
        check(settings)
        space = Space(**settings["space"])
        return self.view(db, state, space), measure_of(SimilarityFunction.to_similarity_fn(space.similarity))

    def view(self, db: sqlite3.Connection, state: State, space: Space) -> View:
        """The view of the generation that a connection sees."""
        folder = self._database.folder
        with self._lock:
            if self._view is None or self._view.state.generation > state.generation:
                found = load(db, folder, state, space.fingerprint, space.dims)
            else:
                found = catch_up(self._view, db, folder, state, space.fingerprint)
            if self._view is None or found.state.generation >= self._view.state.generation:
                self._view = found
        if self._builder.due(found, space.similarity):
            return self._renew(found, db, state, space)
        return found

    def _renew(self, found: View, db: sqlite3.Connection, state: State, space: Space) -> View:
        """Take a derived folder that another thread or process has finished; begin one where there is none.

        Returns:
            A view of the same generation.
        """
        base = 0 if found.base is None else found.base.manifest.generation
        folders = derived.folders(self._database.folder)
        if folders and base < int(folders[0].name) <= state.generation:
            later = load(db, self._database.folder, state, space.fingerprint, space.dims)
            with self._lock:
                if self._view is None or self._view.state == later.state:
                    self._view = later
            found = later
            if not self._builder.due(later, space.similarity):
                return later
        self._builder.start(space)
        return found

    def written(self, space: Space) -> None:
        """Look whether a derived folder is due, after a write."""
        with self._database.snapshot() as (db, state):
            if self._view is None and state.chunks < builder.LEAST:
                return
            self.view(db, state, space)

    def forget(self) -> None:
        """Begin anew with the next search."""
        with self._lock:
            self._view = None
            self._filtered.clear()

    def _chosen(self, db: sqlite3.Connection, state: State, name: str, wanted: filters.Condition) -> Indices:
        """The chunks of the documents that meet a filter, rising."""
        key = (state.generation, state.token, name)
        with self._lock:
            if key in self._filtered:
                self._filtered.move_to_end(key)
                return self._filtered[key]
        found = np.array(filters.matching(db, wanted), np.int64)
        found.sort()
        with self._lock:
            self._filtered[key] = found
            while len(self._filtered) > _FILTERS:
                self._filtered.popitem(last=False)
        return found


def queries(given: Any, space: Space, model: Callable[[], SentenceTransformer]) -> tuple[NDArray[np.float32], bool]:
    """What is looked for as vectors (q, dims), and whether it is one query alone.

    Args:
        given: a text or several; a vector or several.
        model: gives the model, where it is needed.

    Raises:
        InvalidInput: it is none of these. DimensionMismatch: the vectors are of another length.
    """
    if isinstance(given, str) or (isinstance(given, (list, tuple)) and all(isinstance(one, str) for one in given)):
        texts = [given] if isinstance(given, str) else list(given)
        if not texts:
            return np.empty((0, space.dims), np.float32), False
        found = model().encode_query(texts, prompt=space.query_prompt, show_progress_bar=False)
        return found, isinstance(given, str)
    try:
        matrix: NDArray[np.float32] = np.asarray(given, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a query must be a text, a list of texts, or vectors: {error}") from None
    if matrix.ndim not in (1, 2) or matrix.shape[-1] != space.dims:
        raise DimensionMismatch(f"a query vector must have {space.dims} dimensions; this has shape {matrix.shape}")
    return np.atleast_2d(matrix), matrix.ndim == 1


def _deepened(
    now: View,
    queries: NDArray[np.float32],
    k: int,
    total: int,
    measure: Measure,
    only: Indices | None,
    exact: bool,
    rows: _Rows,
) -> list[tuple[list[float], list[int]]]:
    """Scores and chunks of each query's hits; as many more chunks are looked at as it takes to find k documents."""
    found: list[tuple[list[float], list[int]]] = [([], [])] * len(queries)
    left = np.arange(len(queries))
    depth = k
    while len(left):
        scores, chunks = now.best(queries[left], depth, measure, only, exact)
        later = []
        for i, line, numbers in zip(left.tolist(), scores, chunks, strict=True):
            there = numbers >= 0
            if there.sum() < min(depth, total):  # the graph did not reach so many
                line, numbers = (part[0] for part in now.best(queries[i : i + 1], depth, measure, only, True))
                there = numbers >= 0
            found[i] = rows.distinct(line[there], numbers[there], k)
            if len(found[i][0]) < k and depth < total:
                later.append(i)
        left, depth = np.array(later, np.int64), depth * _DEEPER
    return found


class _Rows:
    """Chunks and documents of one search, each read once."""

    def __init__(self, db: sqlite3.Connection, file: Any, each: bool) -> None:
        self._db, self._file, self._each = db, file, each
        self._chunks: dict[int, tuple[int, int, int]] = {}
        self._documents: dict[int, Document] = {}

    def distinct(self, scores: Doubles, chunks: Indices, k: int) -> tuple[list[float], list[int]]:
        """The first k hits: chunks, or the best one of each document."""
        if self._each:
            return scores[:k].tolist(), chunks[:k].tolist()
        firsts: dict[int, tuple[float, int]] = {}
        numbers = chunks.tolist()
        self._look_up(numbers)
        for score, chunk in zip(scores.tolist(), numbers, strict=True):
            firsts.setdefault(self._chunks[chunk][0], (score, chunk))
            if len(firsts) == k:
                break
        return [score for score, _ in firsts.values()], [chunk for _, chunk in firsts.values()]

    def read(self, chunks: Sequence[int]) -> None:
        """Read some chunks and their documents, before `hit` is asked for them."""
        self._look_up(chunks)
        numbers = {self._chunks[chunk][0] for chunk in chunks} - self._documents.keys()
        self._documents |= documents.by_numbers(self._db, self._file, list(numbers))

    def hit(self, score: float, chunk: int) -> Hit:
        """What a search gives back of a chunk."""
        number, start, stop = self._chunks[chunk]
        one = self._documents[number]
        span = None if (start, stop) == (0, len(one.text)) else (start, stop)
        return Hit(one.id, score, one.text[start:stop], one.metadata, span, {"dense": score})

    def _look_up(self, chunks: Sequence[int]) -> None:
        new = set(chunks) - self._chunks.keys()
        self._chunks |= schema.read_chunks(self._db, self._file, list(new))
