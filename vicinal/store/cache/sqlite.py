"""A cache in an SQLite file: no server, shared by threads and processes of one machine, bounded in size."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from vicinal.errors import CacheError
from vicinal.store.cache.database import Database, file_bytes, used_bytes
from vicinal.store.cache.rows import StorageDtype

logger = logging.getLogger("vicinal")

_ASKED = 500  # keys of one statement
_SMALLEST = 1 << 20
_ROW = 128  # bytes that a row takes in the file beside its own, about
_STALE = 60_000  # milliseconds by which the last use of a row may be wrong, so that reading seldom writes
_TOUCHED = 1 << 14  # uses that are remembered before they are written


class SQLiteCache:
    """Keeps rows in a file.

    Args:
        path: of the file; it is made, with its folder, when it is first needed. Not on a network drive: SQLite's
            write-ahead log does not work there.
        max_bytes: of the file. When it is passed, the least recently used rows go, a tenth of it at a time. None is
            no bound. The log beside the file can take 64 MB more.
        dtype: "float16" for half the bytes; vectors are then rounded, those that are computed like those that are
            found.
        timeout: seconds to wait while another process writes.

    Methods raise CacheError where the file cannot be opened, read or written; a model with this cache goes on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int | None = 10 << 30,
        dtype: StorageDtype = "float32",
        timeout: float = 5.0,
    ) -> None:
        if max_bytes is not None and (type(max_bytes) is not int or max_bytes < _SMALLEST):
            raise ValueError(f"max_bytes must be at least {_SMALLEST} (1 MiB) or None, not {max_bytes!r}")
        if dtype not in ("float32", "float16"):
            raise ValueError(f'dtype must be "float32" or "float16", not {dtype!r}')
        self.path = Path(os.path.abspath(os.path.expanduser(path)))
        self.max_bytes, self.dtype, self.timeout = max_bytes, dtype, timeout
        self._database = Database(self.path, timeout)
        self._pending = _Pending()
        weakref.finalize(self, _finish, self._database, self._pending)

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The row of every key, None for those that are not there."""
        found: dict[bytes, bytes] = {}
        stale = _now() - _STALE
        touched = []
        with self._database.connection() as connection:
            for start in range(0, len(keys), _ASKED):
                asked = keys[start : start + _ASKED]
                rows = connection.execute(
                    "SELECT k.key, v.value, k.used FROM keys k JOIN vectors v ON v.id = k.id "
                    f"WHERE k.key IN ({_marks(asked)})",
                    asked,
                ).fetchall()
                for key, value, used in rows:
                    found[key] = value
                    if used < stale:
                        touched.append(key)
        if self._pending.touch(touched):
            _flush(self._database, self._pending)
        return [found.get(key) for key in keys]

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep rows, in place of those that have the same key."""
        rest = iter(dict(items).items())
        portion = len(items)
        if self.max_bytes is not None:  # a small cache is filled in small parts, each of which fits
            longest = max((len(value) for _, value in items), default=0)
            portion = max(1, self.max_bytes // 8 // (longest + _ROW))
        while part := list(islice(rest, portion)):
            with self._database.transaction() as connection:
                if self.max_bytes is not None:
                    coming = sum(len(value) + _ROW for _, value in part)
                    _make_room(connection, coming, self.max_bytes)
                _put(connection, part)
                self._pending.write(connection)
        if self.max_bytes is not None:
            self._shrink(self.max_bytes)

    def _shrink(self, limit: int) -> None:
        """Give the end of a file that is too long back, as after `max_bytes` was lowered."""
        with self._database.connection() as connection:
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            if (excess := file_bytes(connection) - limit) > 0:
                connection.executescript(
                    f"PRAGMA incremental_vacuum({-(-excess // size)})"
                )  # `execute` would end early

    def tally(self, hits: int, misses: int, seconds: float) -> None:
        """Add to the totals that `stats` tells."""
        if self._pending.add({"hits": hits, "misses": misses, "seconds_saved": seconds}):
            _flush(self._database, self._pending)

    def stats(self) -> dict[str, float]:
        """Over the life of the file: rows, bytes (of the file, without free pages), hits, misses, seconds_saved."""
        _flush(self._database, self._pending)
        with self._database.connection() as connection:
            totals = dict(connection.execute("SELECT name, value FROM totals").fetchall())
            (rows,) = connection.execute("SELECT count(*) FROM keys").fetchone()
            return {
                "rows": rows,
                "bytes": used_bytes(connection),
                "hits": int(totals.get("hits", 0)),
                "misses": int(totals.get("misses", 0)),
                "seconds_saved": totals.get("seconds_saved", 0.0),
            }

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its row, in the order in which they came; rows that come meanwhile may be among them."""
        last = 0
        while True:
            with self._database.connection() as connection:
                rows = connection.execute(
                    "SELECT id, key, value FROM vectors WHERE id > ? ORDER BY id LIMIT ?", (last, _ASKED)
                ).fetchall()
            if not rows:
                return
            yield from ((key, value) for _, key, value in rows)
            last = rows[-1][0]

    def clear(self) -> None:
        """Forget everything, and give the space back."""
        with self._database.transaction() as connection:
            self._pending.write(connection)
            for table in ("keys", "vectors", "totals"):
                connection.execute(f"DELETE FROM {table}")
        with self._database.connection() as connection:
            connection.executescript("PRAGMA incremental_vacuum")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Write what is remembered and let go of the file; it is opened again when it is needed."""
        _finish(self._database, self._pending)

    def __enter__(self) -> SQLiteCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> SQLiteCache:
        return self

    def __reduce__(self) -> tuple[type[SQLiteCache], tuple[str, int | None, StorageDtype, float]]:
        return SQLiteCache, (str(self.path), self.max_bytes, self.dtype, self.timeout)

    def __repr__(self) -> str:
        return f"SQLiteCache({str(self.path)!r})"


class _Pending:
    """What reading leaves to be written: when rows were last used, and totals. A few writes for many reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._clear()

    def _clear(self) -> None:
        self._used: dict[bytes, int] = {}
        self._totals: dict[str, float] = {}
        self._written = time.monotonic()

    def touch(self, keys: Sequence[bytes]) -> bool:
        """These rows were used; True when it is time to write."""
        with self._lock:
            self._own()
            self._used.update(dict.fromkeys(keys, _now()))
            return self._due()

    def add(self, totals: dict[str, float]) -> bool:
        """Add to the totals; True when it is time to write."""
        with self._lock:
            self._own()
            for name, value in totals.items():
                self._totals[name] = self._totals.get(name, 0) + value
            return self._due()

    def _own(self) -> None:
        """After a fork: what is pending is the parent's to write."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self._clear()

    def _due(self) -> bool:
        return len(self._used) >= _TOUCHED or time.monotonic() - self._written > _STALE / 1000

    def __len__(self) -> int:
        with self._lock:
            self._own()
            return len(self._used) + len(self._totals)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write and forget, inside the caller's transaction."""
        with self._lock:
            self._own()
            used, totals = self._used, self._totals
            self._clear()
        connection.executemany("UPDATE keys SET used = ? WHERE key = ?", [(when, key) for key, when in used.items()])
        connection.executemany(
            "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            list(totals.items()),
        )


def _now() -> int:
    return time.time_ns() // 1_000_000


def _marks(keys: Sequence[bytes]) -> str:
    return ",".join("?" * len(keys))


def _put(connection: sqlite3.Connection, items: Sequence[tuple[bytes, bytes]]) -> None:
    now = _now()
    for start in range(0, len(items), _ASKED):
        keys = [key for key, _ in items[start : start + _ASKED]]
        connection.execute(f"DELETE FROM vectors WHERE id IN (SELECT id FROM keys WHERE key IN ({_marks(keys)}))", keys)
    (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM vectors").fetchone()
    numbered = list(enumerate(items, last + 1))
    connection.executemany("INSERT INTO vectors VALUES (?, ?, ?)", [(i, *item) for i, item in numbered])
    connection.executemany("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", [(key, i, now) for i, (key, _) in numbered])


def _make_room(connection: sqlite3.Connection, coming: int, limit: int) -> None:
    """Drop the least recently used rows until so many bytes more stay within the limit."""
    while (over := used_bytes(connection) + coming - limit) > 0:
        (mean,) = connection.execute("SELECT avg(length(value)) FROM (SELECT value FROM vectors LIMIT 100)").fetchone()
        if mean is None:
            return
        old = connection.execute(
            "SELECT id, key FROM keys ORDER BY used, id LIMIT ?", (max(16, round(over / (mean + _ROW))),)
        ).fetchall()
        connection.executemany("DELETE FROM vectors WHERE id = ?", [(i,) for i, _ in old])
        connection.executemany("DELETE FROM keys WHERE key = ?", [(key,) for _, key in old])


def _flush(database: Database, pending: _Pending) -> None:
    """Write what is pending, in vain where the file cannot be written: it is of no weight."""
    try:
        if len(pending):
            with database.transaction() as connection:
                pending.write(connection)
    except CacheError as error:
        logger.debug("uses of cached rows are not noted: %s", error)


def _finish(database: Database, pending: _Pending) -> None:
    _flush(database, pending)
    database.close()
