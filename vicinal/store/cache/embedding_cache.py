"""Puts a store in front of an engine: texts that it knows are not tokenized, the others are computed and kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal import report
from vicinal.backends import numerics
from vicinal.backends.base import Arrays
from vicinal.engine import Engine, Job, Window
from vicinal.errors import CacheWarning
from vicinal.loading.spec import Route
from vicinal.store.cache.keys import Keys
from vicinal.store.cache.rows import Found, StorageDtype, halved, pack, unpack
from vicinal.store.cache.stores import Store, open_store
from vicinal.text.tokens import Text, Tokens

logger = logging.getLogger("vicinal")

_LOOK_UP = 4096
"""Texts that are looked for at once."""
_KEEP = 1024
"""Computed rows that are put into the store at once: what an interruption loses, at most."""
_REST = 30.0
"""Seconds that a store which failed is left alone, lest every call wait for it."""


@dataclass
class CacheStats:
    """What a cache did for the models that use this object, in this process.

    Attributes:
        hits, misses: texts that it had, and had not; equal texts of one call count once.
        bytes_read, bytes_written: of rows.
        seconds_saved: what computing the hits had taken, less what looking for all of them took.
        damaged: rows that were not as they were written, and were computed again.
        failures: times that the store could not be read or written.
    """

    hits: int = 0
    misses: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    seconds_saved: float = 0.0
    damaged: int = 0
    failures: int = 0


class EmbeddingCache:
    """A cache as a model uses it; `model.cache`.

    Args:
        store: keeps the rows.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._dtype: StorageDtype = getattr(store, "dtype", "float32")
        if self._dtype not in ("float32", "float16"):
            raise ValueError(f'the dtype of a cache must be "float32" or "float16", not {self._dtype!r}')
        self._stats = CacheStats()
        self._lock = threading.Lock()
        self._rests_until = 0.0
        self._said: set[str] = set()

    @classmethod
    def of(cls, cache: Any) -> EmbeddingCache | None:
        """What a user gives as `cache=`: None, a path, a URL, a store, or another model's cache to share."""
        return cache if cache is None or isinstance(cache, EmbeddingCache) else cls(open_store(cache))

    def stats(self) -> CacheStats:
        """What it did so far."""
        with self._lock:
            return CacheStats(**asdict(self._stats))

    def close(self) -> None:
        """Let go of files and connections; they are opened again when they are needed."""
        if (close := getattr(self.store, "close", None)) is not None:
            close()

    def __getstate__(self) -> dict[str, Any]:
        return {"store": self.store}

    def __setstate__(self, state: dict[str, Any]) -> None:
        EmbeddingCache.__init__(self, state["store"])

    def __repr__(self) -> str:
        return f"EmbeddingCache({self.store!r})"

    # ---- in front of an engine ---------------------------------------------------------------------------------

    def run(
        self, engine: Engine, space: Callable[[Route], str], texts: Sequence[Text], job: Job
    ) -> Iterator[tuple[Window, NDArray[np.int64] | None, Arrays]]:
        """What `engine.run` gives for these texts, with vectors that the store has in the place of computed ones.

        Args:
            space: gives the fingerprint of a route at its full width, with which vectors are kept.
        """
        keys = Keys(space(job.route), numerics(engine.choice), job.bounds.prompt)
        missing: list[int] = []
        wanted: list[bytes] = []
        for start in range(0, len(texts), _LOOK_UP):
            names = keys(texts[start : start + _LOOK_UP])
            found = self._look_up(names, job.route.width)
            here = np.ones(len(names), bool)
            here[found.rows] = False
            absent = np.flatnonzero(here).tolist()
            missing += [start + i for i in absent]
            wanted += [names[i] for i in absent]
            if len(found.rows):
                window = Window(found.rows + start, _counted(found.tokens))
                yield window, None, {}
                yield window, np.arange(len(found.rows)), {"sentence_embedding": found.vectors}
        if missing:
            yield from self._compute(engine, [texts[i] for i in missing], np.array(missing), wanted, job)

    def _compute(
        self, engine: Engine, texts: Sequence[Text], numbers: NDArray[np.int64], keys: Sequence[bytes], job: Job
    ) -> Iterator[tuple[Window, NDArray[np.int64] | None, Arrays]]:
        """Run what the store has not through the engine, and keep it."""
        kept: list[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]] = []
        waiting, since = 0, time.perf_counter()
        shown: Window | None = None
        for window, rows, arrays in engine.run(iter(texts), job):
            if shown is None or rows is None:
                shown = Window(numbers[window.rows], window.tokens)
            if rows is not None:
                vectors = arrays["sentence_embedding"]
                if self._dtype == "float16":  # so that the first time gives what every later one does
                    arrays["sentence_embedding"] = vectors = halved(vectors)
                good = np.isfinite(vectors).all(axis=1)
                kept.append((window.rows[rows][good], vectors[good], window.tokens.full[rows][good]))
                waiting += len(rows)
                if waiting >= _KEEP:
                    self._keep(keys, kept, time.perf_counter() - since)
                    kept, waiting, since = [], 0, time.perf_counter()
            yield shown, rows, arrays
        self._keep(keys, kept, time.perf_counter() - since)

    # ---- the store, whatever state it is in --------------------------------------------------------------------

    def _look_up(self, keys: Sequence[bytes], width: int) -> Found:
        start = time.perf_counter()
        stored = self._asked("be read", self._get, keys)
        found = unpack(keys, [None] * len(keys) if stored is None else stored, width, self._dtype)
        taken = time.perf_counter() - start
        hits, misses = len(found.rows), len(keys) - len(found.rows)
        with self._lock:
            self._stats.hits += hits
            self._stats.misses += misses
            self._stats.bytes_read += sum(len(row) for row in stored or () if isinstance(row, bytes))
            self._stats.seconds_saved += found.seconds - taken
            self._stats.damaged += found.damaged
        if found.damaged:
            rows = "1 row is" if found.damaged == 1 else f"{found.damaged} rows are"
            self._say("damage", f"{rows} damaged in {self.store!r}, and computed again")
        if stored is not None and (tally := getattr(self.store, "tally", None)) is not None:
            self._asked("be written", tally, hits, misses, found.seconds - taken)
        return found

    def _get(self, keys: Sequence[bytes]) -> Sequence[Any]:
        stored = self.store.get_many(keys)
        if len(stored) != len(keys):
            raise ValueError(f"get_many gave {len(stored)} rows for {len(keys)} keys")
        return stored

    def _keep(self, keys: Sequence[bytes], kept: Sequence[tuple[NDArray[Any], ...]], seconds: float) -> None:
        if not kept:
            return
        numbers, vectors, tokens = (np.concatenate(column) for column in zip(*kept, strict=True))
        names = [keys[i] for i in numbers.tolist()]
        rows = pack(names, vectors, tokens, seconds, self._dtype)
        if self._asked("be written", self._put, list(zip(names, rows, strict=True))):
            with self._lock:
                self._stats.bytes_written += sum(map(len, rows))

    def _put(self, items: Sequence[tuple[bytes, bytes]]) -> bool:
        self.store.put_many(items)
        return True

    def _asked(self, what: str, call: Callable[..., Any], *arguments: Any) -> Any:
        """What the store answers, None where it fails: that is said once, and then it is left alone for a while."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            return call(*arguments)
        except Exception as error:  # a store may raise anything; vectors do not depend on it
            self._rests_until = time.monotonic() + _REST
            with self._lock:
                self._stats.failures += 1
            logger.debug("the cache %r cannot %s", self.store, what, exc_info=True)
            reason = f"{type(error).__name__}: {error}"
            self._say("failure", f"{self.store!r} cannot {what} ({reason}): encoding goes on without it")
            return None

    def _say(self, topic: str, message: str) -> None:
        with self._lock:
            first = topic not in self._said
            self._said.add(topic)
        if first:
            report.warn(message, CacheWarning)


_NOTHING = np.empty(0, np.int64)


def _counted(full: NDArray[np.int64]) -> Tokens:
    """Of texts that were not tokenized: only how many tokens they have is known."""
    return Tokens(np.empty(0, np.int32), None, _NOTHING, _NOTHING, full)
