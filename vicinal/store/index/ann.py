"""Approximate search over many vectors: FAISS finds candidates, which are then scored exactly.

The structure lies in a derived folder beside the vectors that it was made from, with its kind and its checksum.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedIndex
from vicinal.extras import require
from vicinal.similarity.arrays import Doubles, Indices
from vicinal.similarity.measures import Measure
from vicinal.similarity.topk import score_pairs
from vicinal.store.index.derived import Generation, Stopped, read_sealed, write_sealed

Kind = Literal["hnsw", "ivf"]
_FILE, _FACTS = "graph.faiss", "graph.json"
_ROWS = 2048
"""Vectors that are added at a time."""
_LINKS, _EFFORT = 32, 64
"""HNSW: neighbours of a node, and candidates while it is built."""
_LARGEST = 6e4
"""Lengths up to which vectors can be kept in half precision."""
_SAMPLE = 64
"""IVF: vectors a cell that its centres are found from."""
_TRY = 2
"""Candidates for each hit, which are scored exactly."""
_FEWEST = 32


@dataclass(frozen=True, eq=False)
class Graph:
    """A FAISS index over all rows of a derived folder.

    Attributes:
        index: FAISS's own.
        kind: of it.
        similarity: that it was built for.
    """

    index: Any
    kind: Kind
    similarity: str
    _alive: dict[int, Any] = field(default_factory=dict)  # FAISS's form of the rows that are left, for the last ones

    def best(
        self,
        queries: NDArray[np.float32],
        k: int,
        measure: Measure,
        vectors: NDArray[np.float32],
        alive: Indices | None,
    ) -> tuple[Doubles, Indices]:
        """Scores and rows of the best rows that were found: (q, k) each; -inf and -1 where fewer were.

        Args:
            vectors: (n, dims) the rows.
            alive: those that may be found; None is all.
        """
        faiss = require("faiss", f"searching by {self.kind}")
        wanted = min(max(_TRY * k, _FEWEST), len(vectors))
        options: dict[str, Any] = {} if alive is None else {"sel": self._selector(faiss, alive)}
        if self.kind == "hnsw":
            options = {"params": faiss.SearchParametersHNSW(efSearch=max(4 * wanted, 192), **options)}
        else:
            cells = max(self.index.nlist // 32, min(self.index.nlist, 16))
            options = {"params": faiss.SearchParametersIVF(nprobe=cells, **options)}
        rows = self.index.search(_ready(queries, self.similarity), wanted, **options)[1].astype(np.int64)
        assert measure.exact is not None, "only known similarities have a graph"
        rows.sort(axis=1)  # of equal scores the lower row comes first
        numbers = np.repeat(np.arange(len(queries)), wanted)
        scores = score_pairs(queries, vectors, measure.exact)(numbers, np.maximum(rows, 0).ravel()).reshape(rows.shape)
        scores[rows < 0] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

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


def build(kind: Kind, similarity: str, seed: Graph | None, made: Generation, stop: Callable[[], bool]) -> None:
    """Write the structure for the rows of a derived folder into it.

    Args:
        seed: one over the first of these rows, to go on from.

    Raises:
        Stopped: `stop` says so.
    """
    faiss = require("faiss", f"an index with search={kind!r}")
    index = faiss.clone_index(seed.index) if seed is not None else _empty(faiss, kind, similarity, made)
    for start in range(index.ntotal, len(made.vectors), _ROWS):
        if stop():
            raise Stopped
        index.add(_ready(made.vectors[start : start + _ROWS], similarity))
    data = faiss.serialize_index(index)
    with (made.folder / _FILE).open("xb") as file:
        file.write(data.data)
        file.flush()
        os.fsync(file.fileno())
    write_sealed(
        made.folder / _FACTS,
        {"kind": kind, "similarity": similarity, "rows": index.ntotal, "crc": zlib.crc32(data.data)},
    )


def _empty(faiss: Any, kind: Kind, similarity: str, made: Generation) -> Any:
    rows, dims = made.vectors.shape
    metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    half = similarity == "cosine" or made.norms.max(initial=0.0) < _LARGEST
    quantizer = faiss.ScalarQuantizer.QT_fp16
    if kind == "hnsw":
        index = (
            faiss.IndexHNSWSQ(dims, quantizer, _LINKS, metric) if half else faiss.IndexHNSWFlat(dims, _LINKS, metric)
        )
        index.hnsw.efConstruction = _EFFORT
        index.is_trained = True  # half precision learns nothing
        return index
    cells = max(1, min(int(4 * rows**0.5), rows // 39))
    coarse = faiss.IndexFlat(dims, metric)
    index = (
        faiss.IndexIVFScalarQuantizer(coarse, dims, cells, quantizer, metric)
        if half
        else faiss.IndexIVFFlat(coarse, dims, cells, metric)
    )
    chosen = np.sort(np.random.default_rng(0).choice(rows, min(rows, _SAMPLE * cells), replace=False))
    index.train(_ready(made.vectors[chosen], similarity))
    index.own_fields = True
    coarse.this.disown()
    return index


def load(made: Generation) -> Graph | None:
    """The structure of a derived folder, None where it has none.

    Raises:
        DamagedIndex: it is not as it was written. MissingExtra: FAISS is not installed.
    """
    found = check(made)
    if found is None:
        return None
    faiss = require("faiss", f"searching the {len(made.chunks):,} vectors of {made.folder}")
    facts, data = found
    return Graph(faiss.deserialize_index(data), facts["kind"], facts["similarity"])


def check(made: Generation) -> tuple[dict[str, Any], NDArray[np.uint8]] | None:
    """What is said of the structure, and its bytes; None where there is none.

    Raises:
        DamagedIndex: it is not as it was written.
    """
    facts_path, path = made.folder / _FACTS, made.folder / _FILE
    if not facts_path.exists():
        return None
    try:
        facts = read_sealed(facts_path)
        data = np.fromfile(path, np.uint8)
    except (OSError, ValueError) as error:
        raise DamagedIndex(f"{path} cannot be read: {error}") from None
    if zlib.crc32(data.data) != facts["crc"] or facts["rows"] != len(made.vectors):
        raise DamagedIndex(f"{path} is not as it was written")
    return facts, data
