"""Brings an index up to what some files and folders hold, a portion a transaction.

A file whose size and time are those of the last run is not read; one whose bytes are is not divided; a document whose
text is, is not embedded. A run that is stopped anywhere keeps what it has committed, and the next one goes on. Tables
are read row by row, so that they may be larger than memory.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from vicinal.errors import InvalidData, InvalidInput
from vicinal.store.index import Index, schema
from vicinal.store.index.database import Transaction
from vicinal.store.index.documents import Incoming, incoming
from vicinal.store.ingest.readers import Found, Settings, read, suffixes

_ROWS, _CHARACTERS, _FILES = 1024, 1 << 22, 4096
"""Of a portion, at most about."""


@dataclass
class Report:
    """What a run did.

    Attributes:
        files: that were looked at.
        unchanged: of these, those that were as before.
        changed: documents that are new or different.
        removed: documents that are gone with their files.
        failed: what could not be read, in words; what the index had of it is still there.
    """

    files: int = 0
    unchanged: int = 0
    changed: int = 0
    removed: int = 0
    failed: list[str] = field(default_factory=list)


@dataclass
class _File:
    """A file whose documents are being stored.

    Attributes:
        name: what it is called in the index.
        stamp: its size and time; "" until all of it is stored.
        hash: of its bytes, and of how it is read.
        read: whether all of it was read, and its ids are known.
    """

    name: str
    stamp: str
    hash: str
    read: bool = False


class _Keys:
    """Ids of the documents that were read of each file, on disk where they are many."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)  # a file of SQLite's own, which goes with the connection
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE seen (file TEXT, key TEXT, PRIMARY KEY (file, key)) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def add(self, file: str, key: str) -> bool:
        """Whether it is new."""
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (file, key)).rowcount == 1

    def has(self, file: str, key: str) -> bool:
        """Whether it was read."""
        return self._db.execute("SELECT 1 FROM seen WHERE file = ? AND key = ?", (file, key)).fetchone() is not None

    def forget(self, file: str) -> None:
        """Let go of a file's."""
        self._db.execute("DELETE FROM seen WHERE file = ?", (file,))

    def close(self) -> None:
        """Let go of all."""
        self._db.close()


def ingest(
    index: Index,
    paths: Sequence[str | os.PathLike[str]] | None = None,
    settings: Settings | None = None,
    *,
    progress: Callable[[int], None] = lambda files: None,
    **options: Any,
) -> Report:
    """Make the documents of an index those of some files.

    Args:
        paths: files, and folders with all files below them that can be read (hidden ones are left out). Documents of
            files of earlier runs that are not among them are removed. None: those of the last run, and its settings.
        settings: how files are read.
        progress: is told how many files more are done.
        options: of `encode_document`.

    Raises:
        InvalidInput: a path is not there, or can never be read. IndexBusy: another process writes.
    """
    place = _recorded(index, paths, settings)
    base, reading = Path(place["base"]), Settings(**place["settings"])
    run = _Run(index, reading, progress, options)
    seen: set[str] = set()
    with closing(run.keys):
        for path in _files([base / path for path in place["paths"]]):
            name = _name(path, base)
            if name not in seen:
                seen.add(name)
                run.take(path, name)
        run.finish(seen)
    return run.report


def count(index: Index, paths: Sequence[str | os.PathLike[str]] | None = None) -> int:
    """How many files a run will look at."""
    place = _inputs(index, paths, None)
    return sum(1 for _ in _files([Path(place["base"]) / path for path in place["paths"]]))


def check(paths: Sequence[str], base: str = "") -> None:
    """Look whether inputs can be read at all.

    Raises:
        InvalidInput: one is not there, or can never be read.
    """
    for path in paths:
        full = Path(base) / path
        if not full.exists():
            raise InvalidInput(f"{path} is not there")
        if full.is_file() and full.suffix.lower() not in suffixes():
            raise InvalidInput(f"{path} is none of {', '.join(suffixes())}, which can be read")


def left_out(index: Index, paths: Sequence[str]) -> list[str]:
    """Inputs of the last run that are there and not among these: a run over these would remove their documents."""
    with index._database.snapshot() as (db, _):
        last = schema.read_record(db, index._database.file, "inputs")
    if last is None:
        return []
    now = {Path(os.path.abspath(path)) for path in paths}
    before = [Path(os.path.normpath(Path(last["base"]) / path)) for path in last["paths"]]
    return [str(path) for path in before if path.exists() and not now & {path, *path.parents}]


def _inputs(index: Index, paths: Any, settings: Settings | None) -> dict[str, Any]:
    if paths is not None:
        return {
            "base": str(Path.cwd()),
            "paths": [os.fspath(p) for p in paths],
            "settings": asdict(settings or Settings()),
        }
    with index._database.snapshot() as (db, _):
        found = schema.read_record(db, index._database.file, "inputs")
    if found is None:
        raise InvalidInput(f"the index at {index.path} was not made from files: say which files")
    if settings is not None:
        found["settings"] = asdict(settings)
    return dict(found)


def _recorded(index: Index, paths: Any, settings: Settings | None) -> dict[str, Any]:
    """What is read and how, kept for the next run."""
    place = _inputs(index, paths, settings)
    check(place["paths"], place["base"])
    with index._writing() as transaction:
        if schema.read_record(transaction.db, index._database.file, "inputs") != place:
            schema.write_record(transaction.db, "inputs", place)
            transaction.changed = True
    return place


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for parent, folders, names in os.walk(path, onerror=_raise):
            folders[:] = sorted(
                name
                for name in folders
                if not name.startswith(".") and not (Path(parent) / name / schema.FILE).exists()
            )
            for name in sorted(names):
                if not name.startswith(".") and name.lower().endswith(suffixes()):
                    yield Path(parent) / name


def _raise(error: OSError) -> None:
    raise error


def _name(path: Path, base: Path) -> str:
    """As seen from where the first run was made; in full where it is not below."""
    full = os.path.normpath(path)
    inside = os.path.relpath(full, base)
    return full if inside.startswith("..") else Path(inside).as_posix()


class _Unreadable(Exception):
    """The system does not let a file be read."""


class _Run:
    """One run over many files.

    Args:
        options: of `encode_document`.
    """

    def __init__(
        self, index: Index, settings: Settings, progress: Callable[[int], None], options: dict[str, Any]
    ) -> None:
        self.index, self.settings, self.options, self.progress = index, settings, options, progress
        self.report, self.keys = Report(), _Keys()
        with index._database.snapshot() as (db, _):
            rows = db.execute("SELECT path, stamp, hash FROM source").fetchall()
        self._known = {path: (stamp, hash_) for path, stamp, hash_ in rows}
        self._open: dict[str, _File] = {}
        self._rows: list[tuple[Incoming, str]] = []
        self._characters = 0

    def take(self, path: Path, name: str) -> None:
        """Read a file, if it has changed, and store it, with others."""
        self.report.files += 1
        try:
            self._look(path, name)
        except (_Unreadable, InvalidData) as error:
            # What is stored of it stays, and the next run reads it again.
            self._rows = [(one, other) for one, other in self._rows if other != name]
            self._open.pop(name, None)
            self.keys.forget(name)
            self.report.failed.append(str(error))
        if self._full():
            self._store()
        self.progress(1)

    def _look(self, path: Path, name: str) -> None:
        before, known = self._known.get(name, ("", ""))
        with _reading(path):
            facts = path.stat()
        stamp = f"{facts.st_size}:{facts.st_mtime_ns}:{_of(self.settings)}"
        if before == stamp:
            self.report.unchanged += 1
            return
        with _reading(path):
            opened = path.open("rb")
        with opened:
            with _reading(path):
                hash_ = _hash(opened) + _of(self.settings)
                opened.seek(0)
            file = _File(name, "", hash_)
            if before and known == hash_:
                self.report.unchanged += 1
            else:
                self._read(path, opened, file)
                file.read = True
        file.stamp = stamp
        self._open[name] = file  # storing a part of it has let go of it

    def _read(self, path: Path, opened: BinaryIO, file: _File) -> None:
        for found in _drawn(path, read(path, opened, self.settings)):
            key = f"{file.name}#{found.part}" if found.part else file.name
            try:
                (one,) = incoming([found.text], [key], [{"source": file.name, **found.metadata}])
            except InvalidInput as error:
                raise InvalidData(f"{path}, {found.part}: {error}") from error
            if not self.keys.add(file.name, key):
                raise InvalidData(f"{path} has two rows with the id {found.part!r}")
            self._open[file.name] = file
            self._rows.append((one, file.name))
            self._characters += len(found.text)
            if self._full():
                self._store()

    def _full(self) -> bool:
        return len(self._rows) >= _ROWS or self._characters >= _CHARACTERS or len(self._open) >= _FILES

    def _store(self) -> None:
        """Commit what was read."""
        files, rows = self._open, self._rows
        self._open, self._rows, self._characters = {}, [], 0
        if not files:
            return

        def prepare(transaction: Transaction) -> dict[str, int]:
            numbers = {}
            for name, file in files.items():
                numbers[name] = transaction.source(name, file.stamp, file.hash)
                if file.read:
                    transaction.left(numbers[name], partial(self.keys.has, name))
            return {one.key: numbers[name] for one, name in rows}

        self.report.changed += self.index._replace([one for one, _ in rows], {}, self.options, prepare)
        for name, file in files.items():
            if file.read:
                self.keys.forget(name)

    def finish(self, seen: set[str]) -> None:
        """Commit the last portion, and remove the documents of files that are no longer there."""
        self._store()
        gone = [name for name in self._known if name not in seen]
        if not gone:
            return
        with self.index._writing() as transaction:
            before = transaction.state.documents
            for name in gone:
                transaction.left(transaction.source(name, "", ""), lambda key: False)
                transaction.db.execute("DELETE FROM source WHERE path = ?", (name,))
            self.report.removed = before - transaction.state.documents


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Inside, what the system says against reading a file is told as such; not so what it says against the index."""
    try:
        yield
    except OSError as error:
        raise _Unreadable(f"{path}: {error.strerror or error}") from error


def _drawn(path: Path, documents: Iterator[Found]) -> Iterator[Found]:
    """The documents of a file, each drawn within `_reading`."""
    while True:
        with _reading(path):
            found = next(documents, None)
        if found is None:
            return
        yield found


def _hash(file: BinaryIO) -> str:
    found = hashlib.blake2b(digest_size=16)
    while data := file.read(1 << 20):
        found.update(data)
    return found.hexdigest()


def _of(settings: Settings) -> str:
    return hashlib.blake2b(repr(settings).encode(), digest_size=4).hexdigest()
