"""Transactions on an index's SQLite file: snapshots that readers see, and writes that are all there or not at all."""

from __future__ import annotations

import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vicinal.errors import IndexBusy
from vicinal.store.index import schema
from vicinal.store.index.documents import Incoming, document_sum
from vicinal.store.index.space import Embedded


@dataclass(frozen=True)
class State:
    """Where an index stands; every write makes the next generation.

    Attributes:
        generation, token: its number, and a random name, since two histories may have one number.
        documents, chunks: how many there are.
        next_document, next_chunk: numbers that are not given yet.
        purged: of chunks removed up to this generation nothing is known any more.
    """

    generation: int = 0
    token: str = ""
    documents: int = 0
    chunks: int = 0
    next_document: int = 1
    next_chunk: int = 1
    purged: int = 0


class Database:
    """The SQLite file of one index, for any number of threads of one process.

    Args:
        folder: of the index.
        timeout: seconds that a write waits for another.
    """

    def __init__(self, folder: Path, timeout: float) -> None:
        self.folder, self.file, self.timeout = folder, folder / schema.FILE, timeout
        self._process = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._closed = False
        self._records: dict[str, tuple[tuple[str, int], Any]] = {}  # as last read, so that each is parsed once

    @contextmanager
    def snapshot(self) -> Iterator[tuple[sqlite3.Connection, State]]:
        """The index as it is committed now; it stays so inside, whatever is written meanwhile."""
        self.check_open()
        with self._lock:
            db = self._idle.pop() if self._idle else None
        db = db or self.connect()
        try:
            with schema.speaking(self.file):
                db.execute("BEGIN")
                try:
                    yield db, self.state(db)
                finally:
                    db.execute("ROLLBACK")
        except BaseException:
            db.close()
            raise
        with self._lock:
            if not self._closed:
                self._idle.append(db)
                return
        db.close()

    @contextmanager
    def writing(self, check: Callable[[Any], None] = lambda settings: None) -> Iterator[Transaction]:
        """What is done inside is committed when the block ends well, and is on disk then; else nothing of it is.

        Args:
            check: is given the index's settings first, and raises where they are not as they should be.

        Raises:
            IndexBusy: another process or thread is writing for longer than the timeout.
        """
        self.check_open()
        if not self._writing.acquire(timeout=self.timeout):
            raise IndexBusy(f"another thread is writing to the index at {self.folder}, and was not done in time")
        try:
            if self._writer is None:
                self._writer = self.connect()
            db = self._writer
            with schema.speaking(self.file):
                db.execute("BEGIN IMMEDIATE")
                try:
                    check(self.record(db, "settings"))
                    transaction = Transaction(db, self.state(db))
                    yield transaction
                    transaction.finish()
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
        finally:
            self._writing.release()

    def vacuum(self) -> None:
        """Give back the room of what was deleted; readers go on meanwhile.

        Raises:
            IndexBusy: another process or thread is writing for longer than the timeout.
        """
        self.check_open()
        with self._writing, schema.speaking(self.file):
            db = self.connect()
            try:
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                db.close()

    def connect(self) -> sqlite3.Connection:
        """A connection of the caller's own."""
        return schema.connect(self.file, self.timeout)

    def state(self, db: sqlite3.Connection) -> State:
        """Where the index stands, as this connection sees it."""
        return State(**self.record(db, "state"))

    def record(self, db: sqlite3.Connection, name: str) -> Any:
        """A record that must be there.

        Raises:
            DamagedIndex: it is not, or not as it was written.
        """
        row = db.execute("SELECT data, sum FROM record WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise schema.damaged(self.file, f"its record of {name} is gone")
        last, found = self._records.get(name, (None, None))
        if row != last:
            found = schema.checked_record(self.file, name, *row)
            self._records[name] = row, found
        return found

    def check_open(self) -> None:
        """Raise ValueError where the index is closed, or another process opened it."""
        if self._closed:
            raise ValueError(f"the index at {self.folder} is closed; open it again")
        if os.getpid() != self._process:
            raise ValueError(f"the index at {self.folder} was opened by another process; open it in this one")

    def close(self) -> None:
        """Let go of the file; a write under way ends first."""
        with self._writing, self._lock:
            self._closed = True
            for db in (*self._idle, *([self._writer] if self._writer else [])):
                db.close()
            self._idle, self._writer = [], None


class Transaction:
    """A write under way. Its methods take what is checked already.

    Attributes:
        db: the connection, with the transaction begun.
        state: what it will leave, but for the generation.
        changed: whether there is anything to commit.
    """

    def __init__(self, db: sqlite3.Connection, state: State) -> None:
        self.db, self.state, self.changed = db, state, False
        self._fields: dict[str, int] = {}

    @property
    def generation(self) -> int:
        """What this write will be."""
        return self.state.generation + 1

    def finish(self) -> None:
        """Write the state, where anything changed."""
        if not self.changed:
            return
        token = uuid.uuid4().hex
        self.state = replace(self.state, generation=self.generation, token=token)
        self.db.execute("INSERT INTO history VALUES (?, ?)", (self.state.generation, token))
        schema.write_record(self.db, "state", asdict(self.state))

    def find(self, keys: Sequence[str]) -> dict[str, tuple[int, bytes, str]]:
        """(number, hash of the text, metadata) of the documents of some ids that are there."""
        return find(self.db, keys)

    def insert(
        self, documents: Sequence[Incoming], embedded: Sequence[Embedded], sources: Mapping[str, int] | None = None
    ) -> None:
        """Store new documents; `sources` says which file some are from."""
        if not documents:
            return
        first = self.state.next_document
        rows = []
        for number, (one, parts) in enumerate(zip(documents, embedded, strict=True), first):
            rows.append(_row(number, one, len(parts.chunks), (sources or {}).get(one.key)))
        self.db.executemany("INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._values([(number, one) for number, one in enumerate(documents, first)])
        self._chunks(list(enumerate(embedded, first)))
        total = self.state.documents + len(documents)
        self.state = replace(self.state, documents=total, next_document=first + len(documents))
        self.changed = True

    def replace(self, number: int, document: Incoming, embedded: Embedded | None, source: int | None = None) -> None:
        """Store a document in the place of one that is there; None keeps its chunks and vectors."""
        (chunks,) = self.db.execute("SELECT chunks FROM document WHERE id = ?", (number,)).fetchone()
        if embedded is not None:
            self._remove_chunks([number])
            self._chunks([(number, embedded)])
            chunks = len(embedded.chunks)
        self.db.execute("DELETE FROM value WHERE document = ?", (number,))
        self.db.execute(
            "INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?)", _row(number, document, chunks, source)
        )
        self._values([(number, document)])
        self.changed = True

    def remove(self, numbers: Sequence[int]) -> None:
        """Remove documents that are there."""
        if not numbers:
            return
        self._remove_chunks(numbers)
        self.db.executemany("DELETE FROM value WHERE document = ?", [(n,) for n in numbers])
        self.db.executemany("DELETE FROM document WHERE id = ?", [(n,) for n in numbers])
        self.state = replace(self.state, documents=self.state.documents - len(numbers))
        self.changed = True

    def source(self, path: str, stamp: str, hash_: str) -> int:
        """Record a file that documents are from; its number."""
        self.db.execute(
            "INSERT INTO source (path, stamp, hash) VALUES (?, ?, ?) "
            "ON CONFLICT (path) DO UPDATE SET stamp = excluded.stamp, hash = excluded.hash",
            (path, stamp, hash_),
        )
        self.changed = True
        (number,) = self.db.execute("SELECT id FROM source WHERE path = ?", (path,)).fetchone()
        return int(number)

    def left(self, source: int, kept: Container[str]) -> None:
        """Remove the documents of a file but some."""
        rows = self.db.execute("SELECT id, key FROM document WHERE source = ?", (source,)).fetchall()
        self.remove([number for number, key in rows if key not in kept])

    def forget(self) -> None:
        """Keep nothing of the chunks that are gone: what was derived before this generation can no longer be used."""
        now = self.state.generation
        self.db.execute("DELETE FROM removed")
        self.db.execute("DELETE FROM history WHERE generation < ?", (now,))
        self.db.execute("DELETE FROM field WHERE id NOT IN (SELECT DISTINCT field FROM value)")
        self.state = replace(self.state, purged=now)
        self.changed = True

    def _remove_chunks(self, numbers: Sequence[int]) -> None:
        gone = [
            (chunk, self.generation)
            for number in numbers
            for (chunk,) in self.db.execute("SELECT id FROM chunk WHERE document = ?", (number,))
        ]
        self.db.executemany("INSERT INTO removed VALUES (?, ?)", gone)
        self.db.executemany("DELETE FROM vector WHERE chunk = ?", [(chunk,) for chunk, _ in gone])
        self.db.executemany("DELETE FROM chunk WHERE id = ?", [(chunk,) for chunk, _ in gone])
        self.state = replace(self.state, chunks=self.state.chunks - len(gone))

    def _chunks(self, documents: Sequence[tuple[int, Embedded]]) -> None:
        last = add_chunks(self.db, documents, self.state.next_chunk)
        chunks = self.state.chunks + last - self.state.next_chunk
        self.state = replace(self.state, chunks=chunks, next_chunk=last)

    def _values(self, documents: Sequence[tuple[int, Incoming]]) -> None:
        rows = [
            (self._field(name), kind, value, number)
            for number, one in documents
            for name, kind, value in one.values
        ]  # fmt: skip
        self.db.executemany("INSERT INTO value VALUES (?, ?, ?, ?)", rows)

    def _field(self, name: str) -> int:
        if name not in self._fields:
            self.db.execute("INSERT OR IGNORE INTO field (name) VALUES (?)", (name,))
            (self._fields[name],) = self.db.execute("SELECT id FROM field WHERE name = ?", (name,)).fetchone()
        return self._fields[name]


def find(db: sqlite3.Connection, keys: Sequence[str]) -> dict[str, tuple[int, bytes, str]]:
    """(number, hash of the text, metadata) of the documents of some ids that are there."""
    found = {}
    for key in keys:
        row = db.execute("SELECT id, hash, metadata FROM document WHERE key = ?", (key,)).fetchone()
        if row is not None:
            found[key] = row
    return found


def _row(number: int, one: Incoming, chunks: int, source: int | None) -> tuple[Any, ...]:
    """A row of `document`."""
    sum_ = document_sum(number, one.key, chunks, one.hash, one.metadata)
    return number, one.key, source, chunks, one.hash, sum_, one.metadata, one.text


def add_chunks(db: sqlite3.Connection, documents: Sequence[tuple[int, Embedded]], first: int, prefix: str = "") -> int:
    """Store the chunks of documents by number, and their vectors, from chunk number `first`; the next number.

    Args:
        prefix: of the tables' names.
    """
    number, chunks, vectors = first, [], []
    for document, embedded in documents:
        for part, vector in zip(embedded.chunks, embedded.vectors, strict=True):
            sum_ = schema.summed(number, document, part.start, part.stop, part.context)
            chunks.append((number, document, part.start, part.stop, part.context, sum_))
            data = vector.astype("<f4", copy=False).tobytes()
            vectors.append((number, schema.vector_sum(number, data), data))
            number += 1
    db.executemany(f"INSERT INTO {prefix}chunk VALUES (?, ?, ?, ?, ?, ?)", chunks)
    db.executemany(f"INSERT INTO {prefix}vector VALUES (?, ?, ?)", vectors)
    return number
