"""vicinal.loading.cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vicinal.loading.cache import remember, remember_files, vicinal_cache


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("VICINAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("one")
    return path


class Counting:
    def __init__(self, read: Callable[[Path], str] = Path.read_text) -> None:
        self.calls, self.read = 0, read

    def __call__(self, path: Path) -> str:
        self.calls += 1
        return self.read(path)


def test_computed_once(file: Path) -> None:
    compute = Counting()
    assert [remember("key", file, compute) for _ in range(3)] == ["one"] * 3
    assert compute.calls == 1


def test_keys_and_paths_are_apart(file: Path, tmp_path: Path) -> None:
    compute = Counting()
    other = tmp_path / "other"
    other.write_text("two")
    os.utime(other, ns=(1, 1))
    os.utime(file, ns=(1, 1))
    assert remember("key", file, compute) == "one"
    assert remember("key", other, compute) == "two"
    remember("another", file, compute)
    assert compute.calls == 3


def test_size_and_time_tell(file: Path) -> None:
    compute = Counting()
    remember("key", file, compute)
    stamp = file.stat().st_mtime_ns
    file.write_text("longer")
    os.utime(file, ns=(stamp, stamp))
    assert remember("key", file, compute) == "longer"
    os.utime(file, ns=(stamp, stamp + 1))
    remember("key", file, compute)
    assert compute.calls == 3


def test_a_changed_file_takes_its_old_place(file: Path, cache: Path) -> None:
    for text in ("a", "bb", "ccc"):
        file.write_text(text)
        remember("key", file, Counting())
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 1


def test_links_are_resolved(file: Path, tmp_path: Path) -> None:
    compute = Counting()
    (tmp_path / "link").symlink_to(file)
    remember("key", file, compute)
    remember("key", tmp_path / "link", compute)
    assert compute.calls == 1


def test_written_while_computed_is_not_remembered(file: Path) -> None:
    stamp = file.stat().st_mtime_ns

    def compute(path: Path) -> str:
        path.write_text("two")
        return path.read_text()

    assert remember("key", file, compute) == "two"
    file.write_text("one")
    os.utime(file, ns=(stamp, stamp))  # as it was when the computation began
    assert remember("key", file, Path.read_text) == "one"


def test_several_files(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("two")
    calls = []

    def compute(paths: object) -> str:
        calls.append(paths)
        return "value"

    for _ in range(2):
        remember_files("key", [file, other], compute)
    assert calls == [[file, other]]
    other.write_text("three")
    remember_files("key", [file, other], compute)
    remember_files("key", [file], compute)
    remember_files("key", [other, file], compute)
    assert len(calls) == 4


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff\xfe", b'{"key": "key"}', b"[" * 100_000])
def test_damaged_memory_is_computed_again(
    file: Path, cache: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    compute = Counting()
    remember("key", file, compute)
    (memory,) = [path for path in cache.rglob("*") if path.is_file()]
    memory.write_bytes(damage)
    with caplog.at_level(logging.INFO):
        assert remember("key", file, compute) == "one"
    assert compute.calls == 2
    assert caplog.records == []
    remember("key", file, compute)
    assert compute.calls == 2


def test_memory_of_a_value_that_is_no_text(file: Path, cache: Path) -> None:
    compute = Counting()
    remember("key", file, compute)
    (memory,) = [path for path in cache.rglob("*") if path.is_file()]
    memory.write_text(memory.read_text().replace('"one"', "1"))
    assert remember("key", file, compute) == "one"


def test_unwritable_cache_is_as_good_as_none(
    file: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_text("a file where the folder should be")
    compute = Counting()
    with caplog.at_level(logging.DEBUG):
        assert [remember("key", file, compute) for _ in range(2)] == ["one"] * 2
    assert compute.calls == 2
    assert "is not writable and nothing is remembered" in caplog.text


def test_no_home_is_no_cache(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VICINAL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", fail)
    assert remember("key", file, Counting()) == "one"


def test_nothing_is_left_when_the_last_step_fails(file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(os, "replace", fail)
    assert remember("key", file, Counting()) == "one"
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_errors_of_the_computation_come_through(file: Path) -> None:
    def fail(path: Path) -> str:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        remember("key", file, fail)
    with pytest.raises(FileNotFoundError, match="absent"):
        remember("key", file.with_name("absent"), Counting())


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert vicinal_cache() == tmp_path / "cache"
    monkeypatch.delenv("VICINAL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert vicinal_cache() == Path("/x/vicinal")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    for platform, place in (("linux", ".cache/vicinal"), ("darwin", "Library/Caches/vicinal")):
        monkeypatch.setattr("sys.platform", platform)
        assert vicinal_cache() == tmp_path / place
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert vicinal_cache() == Path("/local/vicinal/Cache")
