"""Search that FAISS begins: it finds candidates, which are then scored exactly.

The structure lies in a derived folder beside the vectors that it was made from, with its kind and its checksum. It is
mapped, not read, so that opening is fast and processes share its memory.

| kind | what is looked at first | what is found |
|---|---|---|
| hnsw, ivf | a part of the vectors, in half precision | nearly always the best |
| int8 | all, a byte a dimension | the best: candidates are taken until no other row can be among them |
| binary | all, a bit a dimension | nearly always the best, of vectors with many dimensions |
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedIndex
from vicinal.extras import require
from vicinal.similarity.arrays import Doubles, Indices, row_norms
from vicinal.similarity.measures import Measure
from vicinal.similarity.topk import score_pairs
from vicinal.store.index.derived import Generation, Stopped, read_sealed, write_sealed

Kind = Literal["hnsw", "ivf", "int8", "binary"]
_FILE, _FACTS = "graph.faiss", "graph.json"
_ROWS = 2048
"""Vectors that are added at a time."""
_LINKS, _EFFORT, _LOOKED = 32, 128, 192
"""HNSW: neighbours of a node, candidates while it is built, and while up to 100,000 vectors are searched.

Of 100,000 clustered vectors 64 candidates while building gave a recall of 0.956 in 12 s, 96 of 0.987 in 16 s, 128 of
0.991 in 23 s and 200 of 0.996 in 47 s; more while searching mends little of what is not linked.
"""
_CELLS = 64
"""IVF: cells that are searched, at least; a thirty-second of them where there are many."""
_LARGEST = 6e4
"""Lengths up to which vectors can be kept in half precision."""
_SAMPLE = 64
"""IVF: vectors a cell that its centres are found from."""
_TRY = {"hnsw": 2, "ivf": 2, "int8": 16, "binary": 16}
"""Candidates for each hit, which are scored exactly."""
_FEWEST = {"hnsw": 32, "ivf": 32, "int8": 256, "binary": 256}
_MORE, _PART = 8, 16
"""int8: so many times the candidates are taken next; above this part of all rows, all are looked at instead."""
_COARSER = 1.5
"""int8: how much coarser one range for all dimensions may be than one for each."""


class Found(NamedTuple):
    """What a search of a structure gives, (q, k) each but for `sure`.

    Attributes:
        scores: exact, best first; -inf where fewer were found.
        rows: they belong to; -1 where fewer were found.
        sure: (q,) False where other rows may be better, though the kind promises the best.
    """

    scores: Doubles
    rows: Indices
    sure: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Structure:
    """A FAISS index over all rows of a derived folder.

    Attributes:
        index: FAISS's own.
        kind: of it.
        similarity: that it was built for.
        error: int8: how far a vector is from what it is taken for, at most.
        longest: int8: the greatest length of what vectors are taken for.
    """

    index: Any
    kind: Kind
    similarity: str
    error: float
    longest: float
    _alive: dict[int, Any] = field(default_factory=dict)  # FAISS's form of the rows that are left, for the last ones

    def best(
        self,
        queries: NDArray[np.float32],
        k: int,
        measure: Measure,
        vectors: NDArray[np.float32],
        alive: Indices | None,
    ) -> Found:
        """The best rows that are found.

        Args:
            vectors: (n, dims) the rows.
            alive: those that may be found; None is all.
        """
        wanted = min(max(_TRY[self.kind] * k, _FEWEST[self.kind]), len(vectors))
        found = self._scored(queries, k, measure, vectors, alive, wanted)
        while not found.sure.all() and (wanted := _MORE * wanted) <= len(vectors) // _PART:
            again = np.flatnonzero(~found.sure)
            for whole, part in zip(
                found, self._scored(queries[again], k, measure, vectors, alive, wanted), strict=True
            ):
                whole[again] = part
        return found

    def _scored(
        self,
        queries: NDArray[np.float32],
        k: int,
        measure: Measure,
        vectors: NDArray[np.float32],
        alive: Indices | None,
        wanted: int,
    ) -> Found:
        """The best of so many candidates."""
        ready = _ready(queries, self.similarity)
        values, rows = self._candidates(ready, wanted, alive)
        worst = values[:, -1].astype(np.float64)
        complete = (rows[:, -1] < 0) | (wanted == len(vectors))  # there are no other rows
        assert measure.exact is not None, "only known similarities have a structure"
        rows.sort(axis=1)  # of equal scores the lower row comes first
        numbers = np.repeat(np.arange(len(queries)), wanted)
        scores = score_pairs(queries, vectors, measure.exact)(numbers, np.maximum(rows, 0).ravel()).reshape(rows.shape)
        scores[rows < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)
        if self.kind != "int8":
            return Found(scores, rows, np.ones(len(rows), bool))
        return Found(scores, rows, complete | (scores[:, -1] > self._reach(ready, worst)))

    def _candidates(
        self, ready: NDArray[np.float32], wanted: int, alive: Indices | None
    ) -> tuple[NDArray[Any], Indices]:
        """What FAISS finds: values, best first, and rows, (q, wanted) each."""
        faiss = require("faiss", f"searching by {self.kind}")
        options: dict[str, Any] = {} if alive is None else {"sel": self._selector(faiss, alive)}
        given: NDArray[Any] = ready
        if self.kind == "hnsw":
            looked = int(_LOOKED * max(1.0, self.index.ntotal / 100_000) ** 0.3)  # 383 of a million: recall 0.96
            options = {"params": faiss.SearchParametersHNSW(efSearch=max(4 * wanted, looked), **options)}
        elif self.kind == "ivf":
            cells = min(self.index.nlist, max(self.index.nlist // 32, _CELLS))
            options = {"params": faiss.SearchParametersIVF(nprobe=cells, **options)}
        else:
            options = {"params": faiss.SearchParameters(**options)}
        if self.kind == "binary":
            given = _bits(ready)
        values, rows = self.index.search(given, wanted, **options)
        return values, rows.astype(np.int64)

    def _reach(self, ready: NDArray[np.float32], worst: Doubles) -> Doubles:
        """int8: what a row can score, at most, whose value is no better than this."""
        rows = ready.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
        rounding = 4 * (ready.shape[1] + 8) * float(np.finfo(np.float32).eps)  # of a product, relative to the lengths
        if self.similarity == "euclidean":  # the value is a squared distance
            least = worst - rounding * np.square(lengths + self.longest)
            return np.asarray(self.error - np.sqrt(np.maximum(least, 0)))
        return np.asarray(worst + lengths * (self.error + rounding * self.longest))

    def _selector(self, faiss: Any, alive: Indices) -> Any:
        key = id(alive)
        if key not in self._alive:
            self._alive.clear()
            self._alive[key] = faiss.IDSelectorBatch(alive), alive  # held, so that the key stays its own
        return self._alive[key][0]


def _ready(vectors: NDArray[np.float32], similarity: str) -> NDArray[np.float32]:
    """As FAISS compares them: for the cosine, of length 1."""
    rows = np.ascontiguousarray(vectors, np.float32)
    if similarity != "cosine":
        return rows
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return (rows / np.where(norms > 0, norms, 1)[:, None]).astype(np.float32)


def _bits(rows: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The sign of each dimension, eight a byte."""
    return np.packbits(rows > 0, axis=1)


def build(kind: Kind, similarity: str, seed: Structure | None, made: Generation, stop: Callable[[], bool]) -> None:
    """Write the structure for the rows of a derived folder into it.

    Args:
        seed: a graph over the first of these rows, which is not mapped, to go on from.

    Raises:
        Stopped: `stop` says so.
    """
    faiss = require("faiss", f"an index with search={kind!r}")
    index = seed.index if seed is not None else _empty(faiss, kind, similarity, made)
    error = longest = 0.0
    for start in range(index.ntotal, len(made.vectors), _ROWS):
        if stop():
            raise Stopped
        rows = _ready(made.vectors[start : start + _ROWS], similarity)
        index.add(_bits(rows) if kind == "binary" else rows)
        if kind == "int8":
            taken = index.sa_decode(index.sa_encode(rows)).astype(np.float64)
            error = max(error, float(row_norms(taken - rows).max()))
            longest = max(longest, float(row_norms(taken).max()))
    data = faiss.serialize_index_binary(index) if kind == "binary" else faiss.serialize_index(index)
    with (made.folder / _FILE).open("xb") as file:
        file.write(data.data)
        file.flush()
        os.fsync(file.fileno())
    facts = {"kind": kind, "similarity": similarity, "rows": index.ntotal, "error": error, "longest": longest}
    write_sealed(made.folder / _FACTS, {**facts, "crc": zlib.crc32(data.data)})


def _empty(faiss: Any, kind: Kind, similarity: str, made: Generation) -> Any:
    dims = made.vectors.shape[1]
    if kind == "binary":
        return faiss.IndexBinaryFlat((dims + 7) // 8 * 8)
    metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    if kind == "int8":
        return _bytes(faiss, metric, similarity, made)
    half = similarity == "cosine" or made.norms.max(initial=0.0) < _LARGEST
    return (_links if kind == "hnsw" else _cells)(faiss, metric, half, similarity, made)


def _bytes(faiss: Any, metric: int, similarity: str, made: Generation) -> Any:
    """A scan of a byte a dimension, by the range that the values have."""
    dims = made.vectors.shape[1]
    limits = np.stack([np.full(dims, np.inf, np.float32), np.full(dims, -np.inf, np.float32)])
    for start in range(0, len(made.vectors), _ROWS):
        rows = _ready(made.vectors[start : start + _ROWS], similarity)
        np.minimum(limits[0], rows.min(axis=0), out=limits[0])
        np.maximum(limits[1], rows.max(axis=0), out=limits[1])
    spread = (limits[1] - limits[0]).astype(np.float64)
    # One range for all dimensions is scanned three times as fast, and taken where it is not much coarser.
    one = float(limits[1].max() - limits[0].min()) * dims**0.5 <= _COARSER * float(np.linalg.norm(spread))
    types = faiss.ScalarQuantizer
    index = faiss.IndexScalarQuantizer(dims, types.QT_8bit_uniform if one else types.QT_8bit, metric)
    index.train(limits)
    return index


def _links(faiss: Any, metric: int, half: bool, similarity: str, made: Generation) -> Any:
    dims, type_ = made.vectors.shape[1], faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexHNSWSQ(dims, type_, _LINKS, metric) if half else faiss.IndexHNSWFlat(dims, _LINKS, metric)
    index.hnsw.efConstruction = _EFFORT
    index.is_trained = True  # half precision learns nothing
    return index


def _cells(faiss: Any, metric: int, half: bool, similarity: str, made: Generation) -> Any:
    rows, dims = made.vectors.shape
    cells = max(1, min(int(4 * rows**0.5), rows // 39))
    coarse, type_ = faiss.IndexFlat(dims, metric), faiss.ScalarQuantizer.QT_fp16
    index = (
        faiss.IndexIVFScalarQuantizer(coarse, dims, cells, type_, metric)
        if half
        else faiss.IndexIVFFlat(coarse, dims, cells, metric)
    )
    chosen = np.sort(np.random.default_rng(0).choice(rows, min(rows, _SAMPLE * cells), replace=False))
    index.train(_ready(made.vectors[chosen], similarity))
    index.own_fields = True
    coarse.this.disown()
    return index


def load(made: Generation, mapped: bool = True) -> Structure | None:
    """The structure of a derived folder, None where it has none.

    Args:
        mapped: to be searched; else it is read into memory, and can be added to.

    Raises:
        DamagedIndex: it is not as it was written. MissingExtra: FAISS is not installed.
    """
    facts = check(made)
    if facts is None:
        return None
    faiss = require("faiss", f"searching the {len(made.chunks):,} vectors of {made.folder}")
    path = made.folder / _FILE
    read = faiss.read_index_binary if facts["kind"] == "binary" else faiss.read_index
    try:
        index = read(str(path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
    except RuntimeError as error:
        raise DamagedIndex(f"{path} cannot be read: {error}") from None
    return Structure(index, facts["kind"], facts["similarity"], facts.get("error", 0.0), facts.get("longest", 0.0))


def check(made: Generation) -> dict[str, Any] | None:
    """What is said of the structure, None where there is none.

    Raises:
        DamagedIndex: it is not as it was written.
    """
    facts_path, path = made.folder / _FACTS, made.folder / _FILE
    if not facts_path.exists():
        return None
    try:
        facts = read_sealed(facts_path)
        crc = zlib.crc32(_mapped(path).data)
    except (OSError, ValueError) as error:
        raise DamagedIndex(f"{path} cannot be read: {error}") from None
    if crc != facts["crc"] or facts["rows"] != len(made.vectors):
        raise DamagedIndex(f"{path} is not as it was written")
    return facts


def _mapped(path: Path) -> NDArray[np.uint8]:
    found: Any = np.memmap(path, np.uint8, "r")
    return np.asarray(found)
