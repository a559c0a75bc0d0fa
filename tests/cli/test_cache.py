"""Tests of `vicinal cache`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tests.store.cache.test_redis import server  # noqa: F401  # a fixture
from vicinal import SentenceTransformer
from vicinal.store.cache import RedisCache, SQLiteCache

Run = Callable[..., Any]
TEXTS = [f"the tax {i} of the law" for i in range(30)]


@pytest.fixture(params=["float32", "float16"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "embeddings.db"
    with SentenceTransformer(
        tiny.write_static(tmp_path / "model"), cache=SQLiteCache(path, dtype=request.param)
    ) as model:
        model.encode(TEXTS)
        model.encode(TEXTS[:20])
    return path


def rows(path: Path) -> list[tuple[bytes, bytes]]:
    with SQLiteCache(path) as cache:
        return list(cache.items())


def test_stats(run: Run, filled: Path) -> None:
    result = run("cache", "stats", filled)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = dict(line.rsplit(maxsplit=1) for line in result.stdout.splitlines())
    assert (lines["rows"], lines["hits"], lines["misses"]) == ("30", "20", "30")
    assert {"bytes", "seconds saved"} <= set(lines)
    told = json.loads(run("cache", "stats", filled, "--json").stdout)
    assert (told["rows"], told["hits"], told["misses"]) == (30, 20, 30)


def test_clear(run: Run, filled: Path) -> None:
    result = run("cache", "clear", filled)
    assert (result.exit_code, result.stderr) == (0, f"30 rows forgotten in {filled}\n")
    assert rows(filled) == []
    assert json.loads(run("cache", "stats", filled, "--json").stdout)["hits"] == 0


def test_export_into_another_file(run: Run, filled: Path, tmp_path: Path) -> None:
    result = run("cache", "export", filled, "-o", tmp_path / "other.db")
    assert (result.exit_code, result.stderr) == (0, f"30 rows of {filled} in {tmp_path}/other.db\n")
    assert rows(tmp_path / "other.db") == rows(filled)


def test_export_as_lines(run: Run, filled: Path, tmp_path: Path) -> None:
    expected = SentenceTransformer(tmp_path / "model").encode(TEXTS)
    assert run("cache", "export", filled, "-o", tmp_path / "out.jsonl").exit_code == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [bytes.fromhex(line["key"]) for line in lines] == [key for key, _ in rows(filled)]
    found = np.array([line["embedding"] for line in lines], np.float32)
    np.testing.assert_allclose(sorted(found.tolist()), sorted(expected.tolist()), atol=1e-3)
    assert all(line["tokens"] > 3 and line["seconds"] > 0 for line in lines)


def test_damaged_rows_are_left_out(run: Run, filled: Path, tmp_path: Path) -> None:
    with sqlite3.connect(filled) as connection:
        connection.execute("UPDATE vectors SET value = substr(value, 1, length(value) - 1) WHERE id = 3")
        connection.execute("UPDATE vectors SET value = x'' WHERE id = 4")
        connection.execute("UPDATE vectors SET value = zeroblob(length(value)) WHERE id = 5")
    connection.close()
    for output in ("other.db", "out.jsonl"):
        result = run("cache", "export", filled, "-o", tmp_path / output)
        assert result.stderr == f"27 rows of {filled} in {tmp_path}/{output}; 3 damaged\n"
    assert len(rows(tmp_path / "other.db")) == 27
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 27


def test_redis(run: Run, filled: Path, server: str, tmp_path: Path) -> None:  # noqa: F811
    call = ("--prefix", f"{tmp_path.name}:")
    assert run("cache", "export", filled, "-o", server, *call).exit_code == 0
    assert json.loads(run("cache", "stats", server, *call, "--json").stdout)["rows"] == 30
    assert run("cache", "export", server, "-o", tmp_path / "back.db", *call).exit_code == 0
    assert sorted(rows(tmp_path / "back.db")) == sorted(rows(filled))
    assert run("cache", "clear", server, *call).stderr == f"30 rows forgotten in {server}\n"
    with RedisCache(server, prefix=f"{tmp_path.name}:") as cache:
        assert list(cache.items()) == []


def test_what_is_no_cache(run: Run, filled: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no database" * 1000)
    for call in (("stats",), ("clear",), ("export", "-o", tmp_path / "new.db")):
        result = run("cache", *call, tmp_path / "none.db")
        assert (result.exit_code, result.stderr) == (1, f"error: there is no cache at {tmp_path}/none.db\n")
        assert not (tmp_path / "none.db").exists()
        result = run("cache", *call, tmp_path / "a.txt")
        assert result.exit_code == 1
        assert result.stderr.startswith(f"error: {tmp_path}/a.txt: ")
    assert (tmp_path / "a.txt").read_text() == "no database" * 1000
    (tmp_path / "link.db").symlink_to(filled)
    for output in (filled, tmp_path / "link.db"):
        result = run("cache", "export", filled, "-o", output)
        assert result.exit_code == 2
        assert "is the cache itself" in " ".join(result.stderr.split())
