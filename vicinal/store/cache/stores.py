"""What can keep rows: anything with `get_many` and `put_many`; and how a user's `cache=` becomes one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray


class Store(Protocol):
    """Keeps rows under keys; it may forget any of them at any time. Called from many threads at once.

    It may also have `dtype` ("float16" to have rows in half the bytes), `tally(hits, misses, seconds)`, which is told
    of every call, and `close()`.
    """

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | NDArray[Any] | None]:
        """For every key the bytes that were put, or the vector as a float array; None for what is not there."""

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep the bytes of each (key, bytes), in place of what is there."""


def open_store(cache: Any) -> Store:
    """The store that `cache=` means: a path is an SQLite file, a redis:// or rediss:// URL a server.

    Raises:
        TypeError: it is no path and keeps no rows. MissingExtra: it needs the Redis client.
    """
    if isinstance(cache, str) and cache.startswith(("redis://", "rediss://")):
        from vicinal.store.cache.redis import RedisCache

        return RedisCache(cache)
    if isinstance(cache, (str, os.PathLike)):
        from vicinal.store.cache.sqlite import SQLiteCache

        return SQLiteCache(cache)
    if callable(getattr(cache, "get_many", None)) and callable(getattr(cache, "put_many", None)):
        store: Store = cache
        return store
    raise TypeError(
        f"cache must be a path, a redis:// URL, or an object with get_many and put_many, not {type(cache).__name__}"
    )
