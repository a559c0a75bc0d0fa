"""Everything of an index compared with its checksums, and its tables with one another."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vicinal.errors import DamagedIndex
from vicinal.store.index import ann, derived, schema
from vicinal.store.index.database import State
from vicinal.store.index.documents import checked, flattened
from vicinal.store.index.space import Space

_NAMED = 100
"""Faults of a kind that are told one by one."""

STRAY = {
    "chunk": "SELECT id FROM chunk WHERE document NOT IN (SELECT id FROM document)",
    "vector": "SELECT chunk FROM vector WHERE chunk NOT IN (SELECT id FROM chunk)",
    "value": "SELECT document FROM value WHERE document NOT IN (SELECT id FROM document)",
}
"""Rows that belong to nothing."""


def verify(db: sqlite3.Connection, folder: Path, state: State, space: Space) -> list[str]:
    """What is wrong, in words."""
    file = folder / schema.FILE
    found: list[str] = []
    for faults in (
        _pages(db),
        (what for _, what in documents(db, file)),
        (what for _, what in chunks(db, space.dims)),
        _strays(db),
        _counts(db, state),
        _derived(db, folder, state, space),
    ):
        try:
            new = list(faults)
        except sqlite3.DatabaseError as error:
            new = [f"index.db cannot be read: {error}"]
        found += new[:_NAMED]
        if len(new) > _NAMED:
            found.append(f"and {len(new) - _NAMED} more of this kind")
    return found


def _pages(db: sqlite3.Connection) -> Iterator[str]:
    for (line,) in db.execute("PRAGMA integrity_check(100)"):
        if line != "ok":
            yield f"index.db: {line}"


def documents(db: sqlite3.Connection, file: Path) -> Iterator[tuple[int, str]]:
    """Numbers of documents that are not as they were written, and why."""
    for row in db.execute("SELECT id, key, chunks, hash, sum, metadata, text FROM document ORDER BY id"):
        number, key, chunks = row[:3]
        if fault := _raised(lambda row=row: checked(row, file)):  # type: ignore[misc]
            yield number, fault
            continue
        (there,) = db.execute("SELECT count(*) FROM chunk WHERE document = ?", (number,)).fetchone()
        if there != chunks:
            yield number, f"document {key!r} has {there} of its {chunks} chunks"
        elif not _has_values(db, number, row[5]):
            yield number, f"what filters see of document {key!r} is not its metadata"


def _raised(work: Callable[[], Any]) -> str:
    try:
        work()
    except (DamagedIndex, TypeError, ValueError, AttributeError) as error:  # columns of any type, in a damaged file
        return str(error).partition(". `vicinal")[0]
    return ""


def _has_values(db: sqlite3.Connection, number: int, metadata: str) -> bool:
    wanted = sorted((name, kind, repr(value)) for name, kind, value in flattened(json.loads(metadata), "")[1])
    query = "SELECT name, kind, value FROM value JOIN field ON field.id = field WHERE document = ?"
    return sorted((name, kind, repr(value)) for name, kind, value in db.execute(query, (number,))) == wanted


def chunks(db: sqlite3.Connection, dims: int) -> Iterator[tuple[int, str]]:
    """Numbers of documents whose chunks or vectors are not as they were written, and why."""
    query = (
        "SELECT chunk.id, document, start, stop, context, chunk.sum, vector.sum, data FROM chunk "
        "LEFT JOIN vector ON vector.chunk = chunk.id ORDER BY chunk.id"
    )
    for chunk, document, start, stop, context, sum_, vector_sum, data in db.execute(query):
        if schema.summed(chunk, document, start, stop, context) != sum_:
            yield document, f"chunk {chunk} is not as it was written"
        elif data is None:
            yield document, f"the vector of chunk {chunk} is gone"
        elif not isinstance(data, bytes) or len(data) != 4 * dims or schema.vector_sum(chunk, data) != vector_sum:
            yield document, f"the vector of chunk {chunk} is not as it was written"


def _strays(db: sqlite3.Connection) -> Iterator[str]:
    for name, query in STRAY.items():
        if rows := db.execute(query).fetchall():
            yield f"{len(rows)} rows of {name} belong to nothing"


def _counts(db: sqlite3.Connection, state: State) -> Iterator[str]:
    for name, counted, following in (
        ("document", state.documents, state.next_document), ("chunk", state.chunks, state.next_chunk)
    ):  # fmt: skip
        there, last = db.execute(f"SELECT count(*), coalesce(max(id), 0) FROM {name}").fetchone()
        if there != counted:
            yield f"there are {there} {name}s, not {counted}"
        if last >= following:
            yield f"{name} {last} has a number that was not given yet"


def _derived(db: sqlite3.Connection, folder: Path, state: State, space: Space) -> Iterator[str]:
    for path in derived.folders(folder):
        try:
            found = derived.usable(db, path, state, space.fingerprint)
            if found is None:
                continue
            found.check()
            ann.check(found)
        except DamagedIndex as error:
            if path.exists():  # else another process has just replaced it
                yield str(error)
            continue
        yield from _same(db, found)


def _same(db: sqlite3.Connection, found: derived.Generation) -> Iterator[str]:
    """Rows that are not those of SQLite; a chunk that is gone may still have one."""
    for start in range(0, len(found.chunks), derived.ROWS):
        numbers, rows = (column[start : start + derived.ROWS] for column in (found.chunks, found.vectors))
        query = "SELECT chunk, data FROM vector WHERE chunk BETWEEN ? AND ?"
        truth = dict(db.execute(query, (int(numbers[0]), int(numbers[-1]))).fetchall())
        for number, row in zip(numbers.tolist(), rows, strict=True):
            data = truth.pop(number, None)
            if data is not None and not np.array_equal(np.frombuffer(data, "<f4").view("u4"), row.view("u4")):
                yield f"{found.folder}: chunk {number} has another vector than index.db"
        if truth:
            yield f"{found.folder} lacks {len(truth)} chunks that index.db has"
