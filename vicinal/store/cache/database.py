"""The SQLite file behind a cache: its schema, and connections that threads and processes can use at once."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vicinal.errors import CacheError

_APPLICATION = 0x76636361  # "vcca", by which the file tells that it is ours
_SCHEMA = 1
_PAGE = 1 << 14  # 10 rows of 384 float32 dimensions, 5 of 768, 3 of 1024, with little left over
_WAL = 1 << 26  # bytes to which the write-ahead log is cut back
_TABLES = """
CREATE TABLE vectors (id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL);
CREATE TABLE keys (key BLOB PRIMARY KEY, id INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX recency ON keys (used, id);
CREATE TABLE totals (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;
"""
# Rows lie in `vectors` in the order in which they came, as they will be asked for; `keys`, small, finds them and knows
# when each was last used (milliseconds since 1970).


class Database:
    """Connections to one file, made when they are needed, each used by one thread at a time.

    Commits survive the death of the process. The last ones may be lost with the machine's power, never half a one
    (WAL, synchronous=NORMAL).
    """

    def __init__(self, path: Path, timeout: float) -> None:
        self.path, self._timeout = path, timeout
        self._lock = threading.Lock()
        self._free: list[sqlite3.Connection] = []
        self._process = os.getpid()
        self._inherited: list[sqlite3.Connection] = []  # of the parent process: must neither be used nor closed

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for this thread.

        Raises:
            CacheError: the file cannot be opened, is no cache, or SQLite fails inside the block.
        """
        try:
            connection = self._taken()
            try:
                yield connection
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise CacheError(f"{self.path}: {error}") from error
        with self._lock:
            self._free.append(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Writes that are all done or none; waits for other writers up to the timeout."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection  # whatever fails closes the connection, which rolls back
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close what is not in use."""
        with self._lock:
            free, self._free = self._free, []
            if self._process != os.getpid():
                self._inherited += free
                free = []
        for connection in free:
            connection.close()

    def _taken(self) -> sqlite3.Connection:
        with self._lock:
            if self._process != os.getpid():
                self._inherited += self._free
                self._free, self._process = [], os.getpid()
            if self._free:
                return self._free.pop()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"{self.path}: its folder cannot be made: {error}") from error
        deadline = time.monotonic() + self._timeout
        while True:
            connection = sqlite3.connect(
                self.path, timeout=self._timeout, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare(connection)
                return connection
            except sqlite3.OperationalError as error:
                connection.close()
                # A change of journal mode does not wait for other processes that are just making the same file.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            except BaseException:
                connection.close()
                raise

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if _value(connection, "PRAGMA application_id") != _APPLICATION:
            self._create(connection)
        if (schema := _value(connection, "PRAGMA user_version")) != _SCHEMA:
            raise CacheError(
                f"{self.path} is a cache of layout {schema}; this vicinal has {_SCHEMA}. Take another file."
            )
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={_WAL}")

    def _create(self, connection: sqlite3.Connection) -> None:
        filled = _value(connection, "SELECT count(*) FROM sqlite_master")
        # Read in this order: another thread may just have made the file, tables and mark in one transaction.
        if _value(connection, "PRAGMA application_id") == _APPLICATION:
            return
        if filled:
            raise CacheError(f"{self.path} is a database of something else, not an embedding cache: take another file")
        connection.execute(f"PRAGMA page_size={_PAGE}")
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        if _value(connection, "PRAGMA application_id") != _APPLICATION:  # else another process was faster
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={_SCHEMA}")
            connection.execute(f"PRAGMA application_id={_APPLICATION}")
        connection.execute("COMMIT")


def _value(connection: sqlite3.Connection, statement: str) -> int:
    return int(connection.execute(statement).fetchone()[0])


def file_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, when all that is committed is in it."""
    return _value(connection, "PRAGMA page_count") * _value(connection, "PRAGMA page_size")


def used_bytes(connection: sqlite3.Connection) -> int:
    """Of the file, without pages that are free."""
    return file_bytes(connection) - _value(connection, "PRAGMA freelist_count") * _value(connection, "PRAGMA page_size")
