"""A cache in a Redis server: shared by many machines."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from vicinal.errors import CacheError
from vicinal.extras import require
from vicinal.store.cache.rows import StorageDtype

_ASKED = 512  # keys of one command


class RedisCache:
    """Keeps rows in Redis. How much it holds and what it forgets is the server's: set `maxmemory` there, with
    `maxmemory-policy allkeys-lru`.

    Args:
        url: redis://[[user]:[password]@]host[:port][/database], or rediss://... for TLS, whose options
            (ssl_ca_certs, ssl_cert_reqs, ...) may stand in the query.
        ttl: seconds after which a row is forgotten; None keeps it.
        timeout: seconds to wait for a connection, and for an answer.
        prefix: before every key.
        dtype: "float16" for half the bytes; vectors are then rounded, those that are computed like those that are
            found.

    Methods raise CacheError where the server does not answer; a model with this cache goes on.
    """

    def __init__(
        self,
        url: str,
        ttl: float | None = None,
        timeout: float = 1.0,
        prefix: str = "vicinal:",
        dtype: StorageDtype = "float32",
    ) -> None:
        if ttl is not None and not ttl >= 0.001:
            raise ValueError(f"ttl must be at least 0.001 seconds or None, not {ttl!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
        if dtype not in ("float32", "float16"):
            raise ValueError(f'dtype must be "float32" or "float16", not {dtype!r}')
        redis: Any = require("redis", "a cache in Redis")
        retry = importlib.import_module("redis.retry").Retry(importlib.import_module("redis.backoff").NoBackoff(), 1)
        self.url, self.ttl, self.timeout, self.prefix, self.dtype = url, ttl, timeout, prefix, dtype
        self._error = redis.RedisError
        self._prefix = prefix.encode()
        self._client = redis.Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry, decode_responses=False
        )

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The row of every key, None for those that are not there."""
        pipeline = self._client.pipeline(transaction=False)
        for start in range(0, len(keys), _ASKED):
            pipeline.mget([self._prefix + key for key in keys[start : start + _ASKED]])
        return [row for part in self._run(pipeline) for row in part]

    def put_many(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep rows, in place of those that have the same key."""
        milliseconds = None if self.ttl is None else round(self.ttl * 1000)
        for start in range(0, len(items), _ASKED):
            pipeline = self._client.pipeline(transaction=False)
            for key, value in items[start : start + _ASKED]:
                pipeline.set(self._prefix + key, value, px=milliseconds)
            self._run(pipeline)

    def stats(self) -> dict[str, float]:
        """How many rows there are under the prefix, and their bytes."""
        rows = total = 0
        for names in self._names():
            pipeline = self._client.pipeline(transaction=False)
            for name in names:
                pipeline.strlen(name)
            rows += len(names)
            total += sum(self._run(pipeline))
        return {"rows": rows, "bytes": total}

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its row."""
        for names in self._names():
            keys = [name[len(self._prefix) :] for name in names]
            for key, row in zip(keys, self.get_many(keys), strict=True):
                if row is not None:
                    yield key, row

    def clear(self) -> None:
        """Forget everything under the prefix."""
        for names in self._names():
            pipeline = self._client.pipeline(transaction=False)
            pipeline.unlink(*names)
            self._run(pipeline)

    def _names(self) -> Iterator[list[bytes]]:
        pattern = b"".join(b"\\" + bytes([c]) if c in b"*?[]\\" else bytes([c]) for c in self._prefix) + b"*"
        found = self._client.scan_iter(pattern, count=_ASKED)
        while names := self._answered(lambda: list(islice(found, _ASKED))):
            yield names

    def _run(self, pipeline: Any) -> list[Any]:
        return list(self._answered(pipeline.execute))

    def _answered(self, call: Any) -> Any:
        try:
            return call()
        except self._error as error:
            raise CacheError(f"{self!r}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Let go of the connections; they are made again when they are needed."""
        self._client.close()

    def __enter__(self) -> RedisCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> RedisCache:
        return self

    def __reduce__(self) -> tuple[type[RedisCache], tuple[str, float | None, float, str, StorageDtype]]:
        return RedisCache, (self.url, self.ttl, self.timeout, self.prefix, self.dtype)

    def __repr__(self) -> str:
        return f"RedisCache({self.url.partition('?')[0].rpartition('@')[2]!r})"  # without passwords
