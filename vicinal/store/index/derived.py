"""What an index derives from its SQLite file to search fast: folders of files that are never changed once there.

`derived/<generation>/` has the vectors as one matrix to be mapped, with chunk, length and a checksum of each row. A
folder is written under another name, synced, and renamed. It says which generation of which history it was made from,
so that one that does not belong to the SQLite file is known; what does not match its checksums is not used. Either is
made anew from SQLite.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedIndex, IndexBusy
from vicinal.similarity.arrays import Doubles, Indices
from vicinal.similarity.measures import block
from vicinal.store.files import sync_folder, write_json
from vicinal.store.index import schema

FOLDER = "derived"
_FORMAT = 1
_VECTORS, _MANIFEST = "vectors.f32", "manifest.json"
_COLUMNS = {"chunks.i64": "<i8", "norms.f64": "<f8", "checks.u64": "<u8"}
_NEW = ".new"
ROWS = 4096
"""Vectors that are read at a time."""


@dataclass(frozen=True)
class Manifest:
    """What a folder was made from.

    Attributes:
        generation, token: of the index.
        dense: the generation whose chunks had a row each; chunks that were removed since may still have one.
        space: fingerprint.
        rows, dims: of the matrix.
        sums: checksum of each other file.
        format: of this folder.
    """

    generation: int
    token: str
    dense: int
    space: str
    rows: int
    dims: int
    sums: dict[str, int]
    format: int = _FORMAT


@dataclass(frozen=True, eq=False)
class Generation:
    """A derived folder, open.

    Attributes:
        folder: where it is.
        manifest: what it was made from.
        vectors: (rows, dims), mapped.
        chunks: (rows,) which chunk each row is of, rising.
        norms: (rows,) lengths.
        checks: (rows,) checksums of the rows, see `row_checks`.
    """

    folder: Path
    manifest: Manifest
    vectors: NDArray[np.float32]
    chunks: Indices
    norms: Doubles
    checks: NDArray[np.uint64]

    def check(self, rows: Indices | None = None) -> None:
        """Compare rows with their checksums; None is all.

        Raises:
            DamagedIndex: one is not as it was written.
        """
        if rows is not None:
            self._compare(rows, self.vectors[rows])
            return
        for start in range(0, len(self.vectors), ROWS):
            tile = self.vectors[start : start + ROWS]
            self._compare(np.arange(start, start + len(tile)), tile)

    def _compare(self, numbers: Indices, rows: NDArray[np.float32]) -> None:
        wrong = numbers[row_checks(rows) != self.checks[numbers]]
        if len(wrong):
            raise DamagedIndex(f"{self.folder / _VECTORS}: row {wrong[0]} is not as it was written")


def row_checks(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The sum of each row's words: any change within one word changes it."""
    word = np.uint64 if rows.shape[1] % 2 == 0 else np.uint32
    return np.asarray(np.ascontiguousarray(rows).view(word).sum(axis=1, dtype=np.uint64))


# ---- reading -------------------------------------------------------------------------------------------------------


def folders(index: Path) -> list[Path]:
    """The derived folders of an index, newest first."""
    parent = index / FOLDER
    found = [path for path in parent.iterdir() if path.name.isdigit()] if parent.is_dir() else []
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def load(folder: Path) -> Generation:
    """Open a derived folder. Its vectors are mapped, not read: `Generation.check` compares them.

    Raises:
        DamagedIndex: a file is gone, has another size, or is not as it was written.
    """
    try:
        manifest = read_sealed(folder / _MANIFEST)
        found = Manifest(**manifest)
    except (OSError, ValueError, TypeError) as error:
        raise DamagedIndex(f"{folder / _MANIFEST} cannot be read: {error}") from None
    if found.format != _FORMAT:
        raise DamagedIndex(f"{folder} is of format {found.format}, this vicinal writes {_FORMAT}")
    columns = {}
    for name, dtype in _COLUMNS.items():
        data = _read(folder / name, 8 * found.rows)
        if zlib.crc32(data) != found.sums.get(name):
            raise DamagedIndex(f"{folder / name} is not as it was written")
        columns[name] = np.frombuffer(data, dtype)
    path = folder / _VECTORS
    _check_size(path, 4 * found.rows * found.dims)
    vectors: Any = np.memmap(path, "<f4", "r", shape=(found.rows, found.dims))
    chunks, norms, checks = columns.values()
    return Generation(folder, found, vectors.view(np.ndarray), chunks, norms, checks)


def _read(path: Path, size: int) -> bytes:
    _check_size(path, size)
    return path.read_bytes()


def _check_size(path: Path, size: int) -> None:
    try:
        there = path.stat().st_size
    except OSError as error:
        raise DamagedIndex(f"{path} cannot be read: {error.strerror}") from None
    if there != size:
        raise DamagedIndex(f"{path} has {there} bytes, not {size}")


def read_sealed(path: Path) -> dict[str, Any]:
    """A JSON file that `write_sealed` wrote.

    Raises:
        ValueError: it is not as it was written. OSError: it cannot be read.
    """
    data = json.loads(path.read_text("utf-8"))
    seal = data.pop("sum", None) if isinstance(data, dict) else None
    if seal is None or seal != _seal(data):
        raise ValueError("its checksum does not match")
    return dict(data)


def write_sealed(path: Path, data: dict[str, Any]) -> None:
    """Write a JSON object with its checksum, durably and atomically."""
    write_json(path, {**data, "sum": _seal(data)})


def _seal(data: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())


def usable(db: sqlite3.Connection, folder: Path, state: Any, space: str) -> Generation | None:
    """A derived folder, if it was made from this very index, and what was removed since is known.

    Raises:
        DamagedIndex: it is damaged.
    """
    found = load(folder)
    made = found.manifest
    token = db.execute("SELECT token FROM history WHERE generation = ?", (made.generation,)).fetchone()
    fits = token == (made.token,) and made.space == space and state.purged <= made.dense <= made.generation
    return found if fits and made.generation <= state.generation else None


# ---- writing -------------------------------------------------------------------------------------------------------


class Stopped(Exception):
    """The index is being closed: what is built is given up."""


def stream(
    db: sqlite3.Connection, file: Path, dims: int, after: int, stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Indices, NDArray[np.float32]]]:
    """Chunks and vectors of an index in SQLite, some at a time, from the chunk after `after`.

    Raises:
        DamagedIndex: one is not as it was written. Stopped: `stop` says so.
    """
    cursor = db.execute("SELECT chunk, sum, data FROM vector WHERE chunk > ? ORDER BY chunk", (after,))
    while rows := cursor.fetchmany(ROWS):
        if stop():
            raise Stopped
        for chunk, sum_, data in rows:
            if len(data) != 4 * dims or schema.vector_sum(chunk, data) != sum_:
                raise schema.damaged(file, f"the vector of chunk {chunk} is not as it was written")
        vectors = np.frombuffer(b"".join([data for _, _, data in rows]), "<f4").reshape(len(rows), dims)
        yield np.array([chunk for chunk, _, _ in rows], np.int64), vectors


def write(
    index: Path,
    made: Manifest,
    portions: Iterator[tuple[Indices, NDArray[np.float32]]],
    more: Callable[[Generation], None] | None = None,
) -> Generation | None:
    """Make a derived folder.

    Args:
        made: what it is made from; rows and sums are filled in.
        portions: chunks and vectors, in order.
        more: adds files to the folder before it takes its place.

    Returns:
        The folder, open; None where there is not one row.
    """
    parent = index / FOLDER
    parent.mkdir(exist_ok=True)
    new = parent / f".{uuid.uuid4().hex}{_NEW}"
    new.mkdir()
    try:
        columns: list[list[NDArray[Any]]] = [[], [], []]
        with (new / _VECTORS).open("xb") as file:
            for chunks, vectors in portions:
                file.write(vectors.data)
                for column, values in zip(
                    columns, (chunks, block(vectors, "vectors").norms, row_checks(vectors)), strict=True
                ):
                    column.append(values)
            _sync(file)
        if not columns[0]:
            return None
        sums = {}
        for (name, dtype), column in zip(_COLUMNS.items(), columns, strict=True):
            data = np.concatenate(column).astype(dtype, copy=False).tobytes()
            sums[name] = zlib.crc32(data)
            with (new / name).open("xb") as file:
                file.write(data)
                _sync(file)
        rows = sum(map(len, columns[0]))
        write_sealed(new / _MANIFEST, {**asdict(made), "rows": rows, "sums": sums})
        if more is not None:
            more(load(new))
        sync_folder(new)
        return _publish(new, parent / str(made.generation))
    finally:
        if new.exists():
            shutil.rmtree(new)


def _publish(new: Path, place: Path) -> Generation:
    """Put a folder in its place; one that is there already, and was found wanting, goes."""
    if place.exists():
        place.rename(place.with_name(f".{uuid.uuid4().hex}{_NEW}"))
    new.rename(place)
    sync_folder(place.parent)
    return load(place)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def clean(index: Path, keep: Path | None) -> None:
    """Remove what killed builders left, and all derived folders but one. Whoever calls it holds the lock."""
    parent = index / FOLDER
    for path in parent.iterdir() if parent.is_dir() else ():
        if path != keep and path.is_dir():
            _remove(path)


def _remove(folder: Path) -> None:
    try:
        if not folder.name.startswith("."):  # a folder that is found under its number is whole
            folder = folder.rename(folder.with_name(f".{uuid.uuid4().hex}{_NEW}"))
        shutil.rmtree(folder)
    except PermissionError:
        if os.name != "nt":  # there, a mapped file stays until it is let go
            raise


@contextmanager
def lock(index: Path, timeout: float = 0) -> Iterator[bool]:
    """Whether this is the only process and thread that builds; the lock ends with the process, however it ends.

    Args:
        timeout: seconds to wait for another one.
    """
    parent = index / FOLDER
    parent.mkdir(exist_ok=True)
    with schema.speaking(parent):
        db = sqlite3.connect(parent / "lock.db", timeout=timeout, isolation_level=None, check_same_thread=False)
    try:
        try:
            with schema.speaking(parent):
                db.execute("BEGIN EXCLUSIVE")
        except IndexBusy:
            yield False
            return
        yield True
    finally:
        db.close()
