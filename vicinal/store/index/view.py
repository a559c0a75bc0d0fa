"""What a process knows of an index to search it: rows of vectors, those of a derived folder and those that came later.

A view is of one generation and never changes; the next one is made from it and what was written since.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedIndex, IndexWarning, MissingExtra
from vicinal.report import warn
from vicinal.similarity.arrays import Doubles, Indices
from vicinal.similarity.measures import Measure, Prepared, block
from vicinal.similarity.topk import top_k
from vicinal.store.index import ann, derived, schema
from vicinal.store.index.database import State

_QUERIES = 1024
"""Queries that are compared at a time."""


class Tail:
    """Rows in memory that grow at the end; what was handed out stays as it is."""

    def __init__(self, dims: int) -> None:
        self.vectors = np.empty((0, dims), np.float32)
        self.norms = np.empty(0)
        self.chunks = np.empty(0, np.int64)

    def put(self, at: int, chunks: Indices, vectors: NDArray[np.float32]) -> int:
        """Put rows from `at` on, which no view has; where they end."""
        end = at + len(chunks)
        if end > len(self.chunks):
            room = max(end, 2 * len(self.chunks), 256)
            for name in ("vectors", "norms", "chunks"):
                old = getattr(self, name)
                new = np.empty((room, *old.shape[1:]), old.dtype)
                new[:at] = old[:at]
                setattr(self, name, new)
        self.vectors[at:end], self.chunks[at:end] = vectors, chunks
        self.norms[at:end] = block(vectors, "vectors").norms
        return end


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that lie together.

    Attributes:
        vectors: (n, dims).
        norms: (n,).
        chunks: (n,) which chunk each is of, rising.
        dead: chunks that were removed, rising; some may have a row here.
        graph: finds near rows without looking at all, where there is one.
    """

    vectors: NDArray[np.float32]
    norms: Doubles
    chunks: Indices
    dead: Indices
    graph: ann.Graph | None = None

    @cached_property
    def alive(self) -> Indices | None:
        """The rows whose chunks are still there; None is all."""
        gone = _places(self.chunks, self.dead)
        if not len(gone):
            return None
        there = np.ones(len(self.chunks), bool)
        there[gone] = False
        return np.flatnonzero(there)

    def best(
        self, queries: NDArray[np.float32], k: int, measure: Measure, only: Indices | None
    ) -> tuple[Doubles, Indices]:
        """Scores and chunks of the best rows, exactly: (q, m) each.

        Args:
            only: chunks to choose from, rising; None is all.
        """
        prepared = self._prepared if only is None else replace(self._prepared, chosen=_places(self.chunks, only))
        rows = prepared.chosen
        scores, found = top_k(queries, prepared, k, measure, _QUERIES, len(self.chunks) or 1, ("query", "vectors"))
        return scores, self.chunks[found if rows is None else rows[found]]

    @cached_property
    def _prepared(self) -> Prepared:
        return Prepared(self.vectors, self.norms, self.alive)


@dataclass(frozen=True, eq=False)
class View:
    """An index as of one generation.

    Attributes:
        state: that generation.
        base: the derived folder, where there is one.
        graph: its search structure.
        tail: holds the rows that came after it, of which `rows` are of this view.
        dead: chunks with a row that were removed, rising.
    """

    state: State
    base: derived.Generation | None
    graph: ann.Graph | None
    tail: Tail
    rows: int
    dead: Indices

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """All rows; those of a part come before those of the next."""
        tail = self.tail
        n = self.rows
        later = (Part(tail.vectors[:n], tail.norms[:n], tail.chunks[:n], self.dead),) if n else ()
        if self.base is None:
            return later
        return Part(self.base.vectors, self.base.norms, self.base.chunks, self.dead, self.graph), *later

    def __len__(self) -> int:
        """Rows, those of removed chunks too."""
        return self.rows + (0 if self.base is None else len(self.base.chunks))

    @property
    def last(self) -> int:
        """The highest chunk number that has a row."""
        if self.rows:
            return int(self.tail.chunks[self.rows - 1])
        return int(self.base.chunks[-1]) if self.base is not None else 0

    def best(
        self, queries: NDArray[np.float32], k: int, measure: Measure, only: Indices | None = None, exact: bool = True
    ) -> tuple[Doubles, Indices]:
        """Scores and chunk numbers of the best chunks, best first; of equal scores the lower number first.

        Args:
            queries: (q, dims).
            only: chunks to choose from, rising; None is all.
            exact: False may use the graph, which can miss some.
        """
        found = []
        for part in self.parts:
            if exact or only is not None or part.graph is None or k >= len(part.chunks):
                found.append(part.best(queries, k, measure, only))
            else:
                scores, rows = part.graph.best(queries, k, measure, part.vectors, part.alive)
                found.append((scores, np.where(rows < 0, -1, part.chunks[rows])))
        if not found:
            return np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
        scores = np.concatenate([part[0] for part in found], axis=1)
        chunks = np.concatenate([part[1] for part in found], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(chunks, order, 1)


def _places(chunks: Indices, wanted: Indices) -> Indices:
    """The rows of some chunks, rising; those without one are left out."""
    if not len(chunks):
        return np.empty(0, np.int64)
    rows = np.minimum(np.searchsorted(chunks, wanted), len(chunks) - 1)
    return np.asarray(rows[chunks[rows] == wanted])


def load(db: sqlite3.Connection, folder: Path, state: State, space: str, dims: int) -> View:
    """A view from the newest derived folder that can be used, and SQLite for the rest.

    Raises:
        DamagedIndex: a vector in SQLite is damaged.
    """
    base = newest(db, folder, state, space)
    graph, dense = None, 0
    if base is not None:
        dense = base.manifest.dense
        try:
            graph = ann.load(base)
        except MissingExtra as error:
            warn(f"{error}. Until then every vector is looked at", IndexWarning)
        except DamagedIndex as error:
            warn(f"{error}: until it is made anew, searches look at every vector", IndexWarning)
    view = View(state, base, graph, Tail(dims), 0, np.empty(0, np.int64))
    return _grown(view, db, folder, state, dense)


def catch_up(view: View, db: sqlite3.Connection, folder: Path, state: State, space: str) -> View:
    """The view of a later generation, made from this one where what happened since is known."""
    if state == view.state:
        return view
    since = view.state.generation
    known = db.execute("SELECT token FROM history WHERE generation = ?", (since,)).fetchone()
    if since > state.generation or state.purged > since or known != (view.state.token,):
        return load(db, folder, state, space, view.tail.vectors.shape[1])
    return _grown(view, db, folder, state, since)


def _grown(view: View, db: sqlite3.Connection, folder: Path, state: State, since: int) -> View:
    rows, tail = view.rows, view.tail
    for chunks, vectors in derived.stream(db, folder / schema.FILE, tail.vectors.shape[1], view.last):
        rows = tail.put(rows, chunks, vectors)
    later = replace(view, state=state, rows=rows)
    gone = db.execute("SELECT chunk FROM removed WHERE generation > ? ORDER BY chunk", (since,)).fetchall()
    if gone:
        removed = np.array([chunk for (chunk,) in gone], np.int64)
        removed = np.concatenate([part.chunks[_places(part.chunks, removed)] for part in later.parts] or [removed[:0]])
        later = replace(later, dead=np.union1d(view.dead, removed))
    return later


def newest(db: sqlite3.Connection, folder: Path, state: State, space: str) -> derived.Generation | None:
    """The newest derived folder that can be used; a damaged one is named in a warning and passed over."""
    for path in derived.folders(folder):
        try:
            found = derived.usable(db, path, state, space)
            if found is not None:
                found.check()
                return found
        except DamagedIndex as error:
            if path.exists():  # else another process has just replaced it
                warn(f"{error}: it is made anew from the documents' own vectors", IndexWarning)
    return None


def tiles(base: derived.Generation) -> Iterator[tuple[Indices, NDArray[np.float32]]]:
    """The rows of a derived folder, some at a time."""
    for start in range(0, len(base.chunks), derived.ROWS):
        yield base.chunks[start : start + derived.ROWS], base.vectors[start : start + derived.ROWS]
