"""Makes derived folders while the index is used: when one is due, what of the last one is kept, and the thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedIndex, IndexBusy, IndexWarning, MissingExtra
from vicinal.extras import require
from vicinal.report import warn
from vicinal.similarity.arrays import Indices
from vicinal.store.index import ann, derived, view
from vicinal.store.index.database import Database
from vicinal.store.index.space import Space

Search = Literal["auto", "exact", "int8", "binary", "hnsw", "ivf"]
SEARCHES = ("auto", "exact", "int8", "binary", "hnsw", "ivf")
UNKNOWN = {"manhattan": SEARCHES[2:], "euclidean": ("binary",)}
"""What cannot search by a similarity: signs say nothing of distances, and FAISS scans by no manhattan distance."""
MANY = 100_000
"""Vectors from which "auto" searches approximately."""
LEAST = 4096
"""Rows out of place that make a new folder worth while, where they are an eighth of all."""
_PART = 8
_WAIT = 60.0


def kind(search: Search, similarity: str, vectors: int) -> ann.Kind | None:
    """Which structure an index of so many vectors has; None is exact search."""
    wanted = ("hnsw" if vectors > MANY else "exact") if search == "auto" else search
    if wanted == "exact" or vectors < LEAST or wanted in UNKNOWN.get(similarity, ()):
        return None
    return wanted


def _structure_of(made: derived.Generation) -> ann.Structure | None:
    """The structure of a derived folder, to go on from; None where it has none, or one that is damaged."""
    try:
        return ann.load(made, mapped=False)
    except DamagedIndex:
        return None


class Builder:
    """Makes the derived folders of one index, at most one at a time.

    Args:
        database: of the index.
        search: how it is searched.
    """

    def __init__(self, database: Database, search: Search) -> None:
        self._database, self.search = database, search
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        weakref.finalize(self, self._stopped.set)  # at the interpreter's end too
        self._told = False
        self._failed: Exception | None = None
        self._starting = threading.Lock()

    def kind(self, similarity: str, vectors: int) -> ann.Kind | None:
        """Which structure an index of so many vectors is to have here: none where FAISS is missing, which is told."""
        wanted = kind(self.search, similarity, vectors)
        if wanted is None:
            return None
        try:
            require("faiss", f"a fast search of the {vectors:,} vectors of {self._database.folder}")
        except MissingExtra as error:
            if not self._told:
                self._told = True
                warn(f"{error}. Until then every vector is looked at", IndexWarning)
            return None
        return wanted

    def due(self, now: view.View, similarity: str) -> bool:
        """Whether so much has changed that a new folder is worth while."""
        base = 0 if now.base is None else len(now.base.chunks)
        wanted = self.kind(similarity, base)
        if base and wanted is not None and (now.structure is None or now.structure.kind != wanted):
            return True
        if now.rows + len(now.dead) < max(LEAST, base // _PART):
            return False
        self.kind(similarity, len(now))  # what is missing is told here, not on the builder's thread
        return True

    def start(self, space: Space) -> None:
        """Begin a new folder on a thread of its own, where none is being made. What failed before is told now."""
        with self._starting:
            if self._failed is not None:
                failed, self._failed = self._failed, None
                warn(f"the index at {self._database.folder} is searched without new files: {failed}", IndexWarning)
                return
            if self._stopped.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, args=(space,), name="vicinal-index", daemon=True)
            self._thread.start()

    def _run(self, space: Space) -> None:
        try:
            self.build(space)
        except derived.Stopped:
            return
        except Exception as error:  # noqa: BLE001  told by the next `start`, in the caller's thread
            self._failed = error

    def build(self, space: Space, fresh: bool = False, wait: bool = False) -> bool:
        """Make a folder of what is committed now; False where another process is doing so.

        Args:
            fresh: copy nothing from the last one.
            wait: for another builder to end.

        Raises:
            IndexBusy: it did not. Stopped: the index is being closed.
        """
        folder = self._database.folder
        with derived.lock(folder, _WAIT if wait else 0) as mine:
            if not mine:
                if wait:
                    raise IndexBusy(f"another process is building files of the index at {folder}, and goes on")
                return False
            with self._database.snapshot() as (db, state):
                old = None if fresh else view.newest(db, folder, state, space.fingerprint)
                if old is not None and old.manifest.generation == state.generation and self._complete(old, space):
                    derived.clean(folder, old.folder)  # one that was killed here had published, but not cleaned
                    return True
                if old is not None:
                    gone = db.execute("SELECT count(*) FROM removed WHERE generation > ?", (old.manifest.dense,))
                    if gone.fetchone()[0] * _PART >= len(old.chunks):
                        old = None
                after = 0 if old is None else int(old.chunks[-1])
                rows = derived.stream(db, self._database.file, space.dims, after, self._stopped.is_set)
                dense = state.generation if old is None else old.manifest.dense
                made = derived.Manifest(state.generation, state.token, dense, space.fingerprint, 0, space.dims, {})
                found = derived.write(folder, made, rows if old is None else chain(self._kept(old), rows),
                                      partial(self._structure, space, old))  # fmt: skip
            derived.clean(folder, None if found is None else found.folder)
        return True

    def _complete(self, made: derived.Generation, space: Space) -> bool:
        wanted = self.kind(space.similarity, len(made.chunks))
        try:
            there = ann.check(made)
        except DamagedIndex:
            return False
        return wanted is None or (there is not None and there["kind"] == wanted)

    def _kept(self, old: derived.Generation) -> Iterator[tuple[Indices, NDArray[np.float32]]]:
        for tile in view.tiles(old):
            if self._stopped.is_set():
                raise derived.Stopped
            yield tile

    def _structure(self, space: Space, old: derived.Generation | None, made: derived.Generation) -> None:
        """Add the search structure, going on from the last one's where there is one."""
        wanted = self.kind(space.similarity, len(made.chunks))
        if wanted is None:
            return
        # Scans are made faster than read.
        seed = None if old is None or wanted not in ("hnsw", "ivf") else _structure_of(old)
        fits = seed is not None and seed.kind == wanted and seed.similarity == space.similarity
        # The cells of IVF are for so many vectors; they are found anew once there are twice as many.
        if fits and wanted == "ivf" and old is not None and len(made.chunks) > 2 * len(old.chunks):
            fits = False
        ann.build(wanted, space.similarity, seed if fits else None, made, self._stopped.is_set)

    def stop(self) -> None:
        """End what is under way, and begin nothing more."""
        with self._starting:
            self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def join(self) -> None:
        """Wait for what is under way."""
        if self._thread is not None:
            self._thread.join()
