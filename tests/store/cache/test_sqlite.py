from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.errors import CacheError
from vicinal.store.cache import SQLiteCache
from vicinal.store.cache import sqlite as module


def key(i: int) -> bytes:
    return i.to_bytes(16, "big")


def value(i: int, size: int = 1552) -> bytes:
    return np.random.default_rng(i).bytes(size)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[SQLiteCache]:
    with SQLiteCache(tmp_path / "below" / "c.db") as cache:
        yield cache


def test_rows_come_back(cache: SQLiteCache) -> None:
    keys = [key(i) for i in range(1300)]
    assert cache.get_many(keys) == [None] * 1300
    cache.put_many([(key(i), value(i, 20)) for i in range(0, 1300, 2)])
    assert cache.get_many(keys) == [None if i % 2 else value(i, 20) for i in range(1300)]
    assert cache.get_many([]) == []
    cache.put_many([])
    cache.put_many([(key(0), b"new"), (key(1), b"first"), (key(1), b"last")])
    assert cache.get_many([key(1), key(0), key(1)]) == [b"last", b"new", b"last"]
    assert cache.stats()["rows"] == 651
    assert sum(1 for _ in cache.items()) == 651
    assert dict(cache.items())[key(4)] == value(4, 20)


def test_it_is_there_the_next_time(cache: SQLiteCache) -> None:
    cache.put_many([(key(1), b"one")])
    cache.close()
    assert cache.get_many([key(1)]) == [b"one"]
    with SQLiteCache(cache.path) as other:
        assert other.get_many([key(1)]) == [b"one"]
    for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert twin.get_many([key(1)]) == [b"one"]
        twin.close()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("pg"), st.lists(st.integers(0, 12), max_size=6)), max_size=12))
def test_it_is_a_mapping(tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[str, list[int]]]) -> None:
    expected: dict[bytes, bytes] = {}
    with SQLiteCache(tmp_path_factory.mktemp("db") / "c.db") as cache:
        for number, (kind, wanted) in enumerate(calls):
            if kind == "p":
                items = [(key(i), value(i + number, 9)) for i in wanted]
                cache.put_many(items)
                expected.update(items)
            else:
                assert cache.get_many([key(i) for i in wanted]) == [expected.get(key(i)) for i in wanted]
        assert dict(cache.items()) == expected
        with cache._database.connection() as connection:
            assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (len(expected),)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# ---- size ----------------------------------------------------------------------------------------------------------


def size(cache: SQLiteCache) -> int:
    with cache._database.connection() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return cache.path.stat().st_size


@pytest.mark.parametrize("bytes_a_row", [40, 1552, 30_000])
def test_the_file_stays_within_its_bound(tmp_path: Path, bytes_a_row: int) -> None:
    portion = (1 << 20) // bytes_a_row
    with SQLiteCache(tmp_path / "c.db", max_bytes=2 << 20) as cache:
        for step in range(6):
            cache.put_many([(key(step * portion + i), bytes([i % 251]) * bytes_a_row) for i in range(portion)])
            assert size(cache) <= 2 << 20
        kept = sorted(int.from_bytes(k, "big") for k, _ in cache.items())
        assert kept == list(range(kept[0], 6 * portion)), "the oldest went first"
        filled = len(kept) * (bytes_a_row + 100)
        assert filled > (1 << 20), "not much more went than had to"


def test_what_is_used_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    with SQLiteCache(tmp_path / "c.db", max_bytes=1 << 20) as cache:
        cache.put_many([(key(i), value(i)) for i in range(400)])
        for step in range(1, 20):
            now[0] += 61_000
            assert None not in cache.get_many([key(i) for i in range(0, 400, 10)])
            cache.put_many([(key(1000 * step + i), value(i)) for i in range(100)])
        assert cache.get_many([key(1), key(399)]) == [None, None]


def test_reading_seldom_writes(cache: SQLiteCache, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000_000]
    monkeypatch.setattr(module, "_now", lambda: now[0])
    monkeypatch.setattr(module, "_TOUCHED", 50)
    cache.put_many([(key(i), b"row") for i in range(100)])
    writes = []
    transaction = cache._database.transaction
    monkeypatch.setattr(cache._database, "transaction", lambda: (writes.append(1), transaction())[1])
    for i in range(100):
        cache.get_many([key(i)])
    assert not writes, "they were used a moment ago"
    now[0] += 61_000
    for _ in range(3):
        for i in range(100):
            cache.get_many([key(i)])
    assert len(writes) == 2
    with cache._database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM keys WHERE used = ?", (now[0],)).fetchone() == (100,)


def test_a_lower_bound_shrinks_the_file(tmp_path: Path) -> None:
    with SQLiteCache(tmp_path / "c.db") as cache:
        cache.put_many([(key(i), value(i)) for i in range(4000)])
        assert size(cache) > 6 << 20
    with SQLiteCache(tmp_path / "c.db", max_bytes=1 << 20) as cache:
        cache.put_many([(key(5000), b"new")])
        assert size(cache) <= 1 << 20
        assert cache.get_many([key(3999), key(0), key(5000)]) == [value(3999), None, b"new"]


def test_clearing_gives_the_space_back(cache: SQLiteCache) -> None:
    cache.put_many([(key(i), value(i)) for i in range(2000)])
    cache.tally(5, 6, 1.5)
    cache.clear()
    assert cache.stats() | {"bytes": 0} == {"rows": 0, "bytes": 0, "hits": 0, "misses": 0, "seconds_saved": 0.0}
    assert size(cache) < 200_000
    cache.put_many([(key(1), b"one")])
    assert cache.get_many([key(1)]) == [b"one"]


def test_totals_are_kept(cache: SQLiteCache) -> None:
    cache.tally(5, 6, 1.5)
    cache.tally(1, 0, -0.25)
    cache.close()
    with SQLiteCache(cache.path) as other:
        other.tally(1, 1, 0.0)
        found = other.stats()
    assert (found["hits"], found["misses"], found["seconds_saved"]) == (7, 7, 1.25)


def test_a_forgotten_cache_writes_its_totals(cache: SQLiteCache) -> None:
    code = "import sys; from vicinal.store.cache import SQLiteCache as C; c = C(sys.argv[1]); c.tally(3, 0, 1.0)"
    subprocess.run([sys.executable, "-W", "error", "-c", code, cache.path], check=True)
    assert cache.stats()["hits"] == 3


# ---- several at once -----------------------------------------------------------------------------------------------


def _work(path: str, seed: int, problems: Any) -> None:
    try:
        rng = np.random.default_rng(seed)
        with SQLiteCache(path, max_bytes=1 << 20, timeout=60.0) as cache:
            for _ in range(12):
                wanted = rng.integers(0, 500, 40).tolist()
                for i, row in zip(wanted, cache.get_many([key(i) for i in wanted]), strict=True):
                    assert row is None or row == value(i), i
                cache.put_many([(key(i), value(i)) for i in wanted])
    except BaseException as error:  # noqa: BLE001
        problems.put(repr(error))


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_many_read_and_write_at_once(tmp_path: Path, kind: str) -> None:
    """They make the file together, too."""
    context = multiprocessing.get_context("spawn")
    problems = context.Queue()
    make: Callable[..., Any] = context.Process if kind == "process" else threading.Thread
    workers = [make(target=_work, args=(str(tmp_path / "c.db"), seed, problems)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert problems.empty(), problems.get()
    with SQLiteCache(tmp_path / "c.db") as cache:
        rows = dict(cache.items())
        assert len(rows) > 50
        assert all(row == value(int.from_bytes(name, "big")) for name, row in rows.items())
        with cache._database.connection() as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_threads_have_a_connection_each(cache: SQLiteCache) -> None:
    with cache._database.connection() as one, cache._database.connection() as two:
        assert one is not two
    with cache._database.connection() as again:
        assert again in (one, two)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_opens_the_file_anew(cache: SQLiteCache) -> None:
    cache.put_many([(key(1), b"one")])
    cache.tally(1, 0, 0.0)
    with cache._database.connection() as mine:
        pass
    child = os.fork()
    if child == 0:
        status = 1
        try:
            good = cache.get_many([key(1)]) == [b"one"]
            with cache._database.connection() as own:
                good &= own is not mine
            cache.close()
            status = 0 if good else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.stats()["hits"] == 1, "only the parent wrote it"


def test_a_writer_that_does_not_end_is_waited_for(tmp_path: Path) -> None:
    with SQLiteCache(tmp_path / "c.db", timeout=0.05) as cache:
        cache.put_many([(key(1), b"one")])
        other = sqlite3.connect(cache.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert cache.get_many([key(1)]) == [b"one"], "readers do not wait"
        with pytest.raises(CacheError, match=r"c\.db: database is locked"):
            cache.put_many([(key(2), b"two")])
        other.execute("ROLLBACK")
        other.close()
        cache.put_many([(key(2), b"two")])
        assert cache.get_many([key(2)]) == [b"two"]


# ---- files that are not as they should be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, I am no database" * 99, "file is not a database"),
        (None, "database of something else"),
        ("other", "layout 7"),
    ],
)
def test_other_files_are_refused_and_left_alone(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "c.db"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        other = sqlite3.connect(path)
        other.execute("CREATE TABLE precious (x)")
        other.close()
    else:
        with SQLiteCache(path) as cache:
            cache.put_many([(key(1), b"one")])
        other = sqlite3.connect(path)
        other.execute("PRAGMA user_version=7")
        other.close()
    before = path.read_bytes()
    with SQLiteCache(path) as cache:
        for call in (
            lambda: cache.get_many([key(1)]),
            lambda: cache.put_many([(key(1), b"x")]),
            cache.clear,
            cache.stats,
        ):
            with pytest.raises(CacheError, match=message):
                call()
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with SQLiteCache(tmp_path / "file" / "c.db") as cache, pytest.raises(CacheError, match="its folder cannot be made"):
        cache.get_many([key(1)])


@pytest.mark.parametrize("seed", range(8))
def test_damage_of_the_file_is_an_error_or_no_row(tmp_path: Path, seed: int) -> None:
    """Or damage that the row's own checksum finds; never a crash."""
    rng = np.random.default_rng(seed)
    path = tmp_path / "c.db"
    with SQLiteCache(path) as cache:
        cache.put_many([(key(i), value(i)) for i in range(200)])
    content = bytearray(path.read_bytes())
    if seed % 2:
        del content[int(rng.integers(len(content))) :]
    else:
        for place in rng.integers(100, len(content), 2000):
            content[place] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    with SQLiteCache(path) as cache, suppress(CacheError):
        cache.get_many([key(i) for i in range(200)])
        cache.put_many([(key(i), value(i)) for i in range(300)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_bytes": 1000}, r"max_bytes must be at least 1048576 \(1 MiB\) or None, not 1000"),
        ({"max_bytes": "1G"}, "not '1G'"),
        ({"dtype": "int8"}, 'dtype must be "float32" or "float16", not \'int8\''),
    ],
)
def test_bad_arguments(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SQLiteCache(tmp_path / "c.db", **options)
