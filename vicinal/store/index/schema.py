"""The SQLite file of an index: its tables, its version, and the sums by which damage is found.

| table | a row |
|---|---|
| record | "settings", "state" or "inputs": JSON with its checksum |
| document | a text with its id and metadata |
| field, value | a metadata value of a document, for filters |
| chunk | a span of a document |
| vector | its vector, float32; apart, so that looking at chunks does not read them |
| removed | a chunk that is gone, and the generation that removed it |
| history | a random token a generation, by which files derived from it are known |
| source | a file that documents were read from |

Numbers of documents and chunks only grow, and none is given twice.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vicinal.errors import DamagedIndex, IndexBusy, IndexNotFound

FILE = "index.db"
_NUMBERS = 512
"""Rows that are asked for at a time."""

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE record (name TEXT PRIMARY KEY, data TEXT NOT NULL, sum INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE document (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, source INTEGER, chunks INTEGER NOT NULL, hash BLOB NOT NULL,
        sum INTEGER NOT NULL, metadata TEXT NOT NULL, text TEXT NOT NULL
    );
    CREATE INDEX document_source ON document (source) WHERE source IS NOT NULL;
    CREATE TABLE field (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
    CREATE TABLE value (
        field INTEGER NOT NULL, kind INTEGER NOT NULL, value NOT NULL, document INTEGER NOT NULL,
        PRIMARY KEY (field, kind, value, document)
    ) WITHOUT ROWID;
    CREATE INDEX value_document ON value (document);
    CREATE TABLE chunk (
        id INTEGER PRIMARY KEY, document INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
        context TEXT NOT NULL, sum INTEGER NOT NULL
    );
    CREATE INDEX chunk_document ON chunk (document);
    CREATE TABLE vector (chunk INTEGER PRIMARY KEY, sum INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE removed (chunk INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
    CREATE INDEX removed_generation ON removed (generation);
    CREATE TABLE history (generation INTEGER PRIMARY KEY, token TEXT NOT NULL);
    CREATE TABLE source (
        id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, stamp TEXT NOT NULL, hash TEXT NOT NULL
    );
    """,
)
"""What makes each version of the schema from the one before; the first from nothing."""


def connect(path: Path, timeout: float, create: bool = False) -> sqlite3.Connection:
    """A connection to the file, in WAL mode; a commit is on disk when it returns.

    Args:
        timeout: seconds to wait for another writer.

    Raises:
        IndexNotFound: there is no such file. DamagedIndex: it is no SQLite file.
    """
    if not create and not path.is_file():
        raise IndexNotFound(
            f"there is no index at {path.parent}: Index.create({str(path.parent)!r}, model) makes one, and so does "
            f"`vicinal index build FILES -o {path.parent}`"
        )
    mode = "rwc" if create else "rw"
    with speaking(path):
        db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}",
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
            uri=True,
        )
        try:
            if create:
                db.execute("PRAGMA page_size = 8192")  # holds vectors of up to 2,000 dimensions with little waste
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA fullfsync = ON")
            db.execute("PRAGMA cache_size = -16384")
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def speaking(path: Path) -> Iterator[None]:
    """Inside, SQLite's errors become ours.

    Raises:
        IndexBusy, DamagedIndex, OSError (the disk is full, or cannot be written).
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _said(error, path) from error


def _said(error: sqlite3.Error, path: Path) -> Exception:
    text = str(error)
    if isinstance(error, sqlite3.ProgrammingError):
        return error
    if "locked" in text or "busy" in text:
        return IndexBusy(
            f"another process or thread is writing to the index at {path.parent}, and was not done in time: try "
            "again, or wait longer with Index.open(..., timeout=seconds)"
        )
    if "is full" in text:
        return OSError(
            errno.ENOSPC, "no room on the disk (or a limit is reached); nothing of this call was kept", str(path)
        )
    if "readonly" in text or "read-only" in text:
        return PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    if "disk I/O error" in text or "unable to open" in text:
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        return OSError(
            errno.EIO, f"{text} ({free >> 10:,} KiB are free there; SQLite needs some to open a file)", str(path)
        )
    return beyond_repair(path, text)


def beyond_repair(path: Path, what: str) -> DamagedIndex:
    """The error for a file that SQLite cannot read, or not all of it."""
    return DamagedIndex(
        f"the index at {path.parent} is damaged: {what}. Nothing here mends a file that SQLite itself cannot read: put "
        "a backup in its place, or index the documents anew"
    )


def damaged(path: Path, what: str) -> DamagedIndex:
    """The error for a file that is not as it was written."""
    folder = path.parent if path.suffix == ".db" else path
    return DamagedIndex(
        f"the index at {folder} is damaged: {what}. `vicinal index verify {folder}` says how far, "
        f"`vicinal index rebuild {folder}` keeps what is whole; or put a backup in its place"
    )


def prepare(db: sqlite3.Connection, path: Path, records: Mapping[str, Any] | None = None) -> None:
    """Bring the schema up to this version, in one transaction.

    Args:
        records: of a new index; None for one that must be there.

    Raises:
        IndexNotFound: there is no index in the file. DamagedIndex: it is of a later version.
    """
    with speaking(path):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0 and records is None:
            raise IndexNotFound(f"{path} holds no index: it was never finished; Index.create makes it")
        if version > len(STEPS):
            raise DamagedIndex(
                f"the index at {path.parent} is of format {version}; this vicinal knows formats up to {len(STEPS)}: "
                "a later one made it, or its first page is damaged"
            )
        if version == len(STEPS):
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            (version,) = db.execute("PRAGMA user_version").fetchone()  # another process may have been faster
            for step in STEPS[version:]:
                for statement in step.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(STEPS)}")
            for name, data in (records or {}).items():
                write_record(db, name, data)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


def copy(db: sqlite3.Connection, path: Path) -> None:
    """Write all that a connection sees into a new file."""
    with speaking(path):
        other = sqlite3.connect(path, isolation_level=None)
        try:
            other.execute("PRAGMA synchronous = FULL")
            db.backup(other)
            other.execute("PRAGMA journal_mode = WAL")
        finally:
            other.close()


def write_record(db: sqlite3.Connection, name: str, data: Any) -> None:
    """Put a record in the place of the one of that name."""
    text = json.dumps(data, ensure_ascii=False)
    db.execute("INSERT OR REPLACE INTO record VALUES (?, ?, ?)", (name, text, summed(name, text)))


def read_record(db: sqlite3.Connection, path: Path, name: str) -> Any:
    """A record, None where there is none of that name.

    Raises:
        DamagedIndex: it is not as it was written.
    """
    row = db.execute("SELECT data, sum FROM record WHERE name = ?", (name,)).fetchone()
    return None if row is None else checked_record(path, name, *row)


def checked_record(path: Path, name: str, data: str, sum_: int) -> Any:
    """A row of `record` as what it says.

    Raises:
        DamagedIndex: it is not as it was written.
    """
    if summed(name, data) != sum_:
        raise damaged(path, f"its record of {name} is not as it was written")
    return json.loads(data)


def read_chunk(db: sqlite3.Connection, path: Path, chunk: int) -> tuple[int, int, int]:
    """(document, start, stop) of a chunk.

    Raises:
        DamagedIndex: it is not as it was written.
    """
    return read_chunks(db, path, [chunk])[chunk]


def read_chunks(db: sqlite3.Connection, path: Path, chunks: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """(document, start, stop) of each of some chunks.

    Raises:
        DamagedIndex: one is not as it was written.
    """
    found = {}
    for row in numbered(db, "SELECT id, document, start, stop, context, sum FROM chunk WHERE id IN", chunks):
        if summed(*row[:5]) == row[5]:
            found[row[0]] = row[1:4]
    for chunk in chunks:
        if chunk not in found:
            raise damaged(path, f"chunk {chunk} is not as it was written")
    return found


def numbered(db: sqlite3.Connection, query: str, numbers: Sequence[int]) -> list[tuple[Any, ...]]:
    """The rows of some numbers.

    Args:
        query: ends with "IN".
    """
    rows = []
    for start in range(0, len(numbers), _NUMBERS):
        some = numbers[start : start + _NUMBERS]
        rows += db.execute(f"{query} ({', '.join('?' * len(some))})", some).fetchall()
    return rows


def summed(*parts: Any) -> int:
    """A checksum over values, in this order."""
    return zlib.crc32("\0".join(map(str, parts)).encode("utf-8", "surrogatepass"))


def vector_sum(chunk: int, data: bytes) -> int:
    """The checksum of a chunk's vector; not that of another chunk with the same."""
    return zlib.crc32(data, chunk & 0xFFFFFFFF)
