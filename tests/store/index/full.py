"""Works on an index where there is little room, and looks at what is left. Run as a program.

    python -m tests.store.index.full FOLDER MODEL MODEL [LIMIT ...]

FOLDER is to hold the index. With limits (bytes), no file may become longer; without, FOLDER is on a file system of its
own, which is filled. What each kind of write came to is told in a line of JSON.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.store.index.worker import ended, forked
from vicinal import Index, SentenceTransformer
from vicinal.store.files import sync_folder
from vicinal.store.index import builder

ROOMS = [0, 3_000, 30_000, 60_000, 120_000, 250_000]
"""Bytes that are left of a file system."""
DOCUMENTS = {f"k{i}": f"the tax {i} of the law {i * 7 % 5}" + " apple" * (i % 7) for i in range(600)}


def filled(folder: Path, room: int) -> None:
    """Leave no more than so much of a file system."""
    with (folder / "ballast").open("wb") as file:
        end = 0
        for step in (1 << 20, 1 << 16, 1 << 12):
            while os.statvfs(folder).f_bfree * os.statvfs(folder).f_frsize - step >= room:
                try:
                    os.posix_fallocate(file.fileno(), end, step)
                except OSError as error:  # the file system needs some for itself
                    if error.errno != errno.ENOSPC:
                        raise
                    break
                end += step


@contextmanager
def scarce(folder: Path, room: int, by_limit: bool) -> Iterator[None]:
    """Inside, there is little room: for this process, or for all."""
    if by_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        if not by_limit:
            filled(folder, room)
        yield
    finally:
        if by_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            (folder / "ballast").unlink()
            sync_folder(folder)  # only then is the room free again


def main() -> dict[str, list[str]]:
    """How each kind of write ended, by the room that it had."""
    folder, *names = Path(sys.argv[1]), *sys.argv[2:4]
    limits = list(map(int, sys.argv[4:]))
    models = [SentenceTransformer(name, self_test=False) for name in names]
    path = folder / "docs.vicinal"
    new = {f"new{i}": f"red apple {i} " * 20 for i in range(400)}
    turned = {key: f"{text} green" for key, text in DOCUMENTS.items()}
    writes: dict[str, tuple[Callable[[Index], object], dict[str, str]]] = {
        "add": (lambda index: index.add(new.values(), list(new)), DOCUMENTS | new),
        "upsert": (lambda index: index.upsert(turned.values(), list(turned)), turned),
        "delete": (lambda index: index.delete(list(DOCUMENTS)[::2]), dict(list(DOCUMENTS.items())[1::2])),
        "compact": (lambda index: index.compact(), DOCUMENTS),
        "optimize": (lambda index: index.optimize(), DOCUMENTS),
        "rebuild": (lambda index: index.rebuild(models[1]), DOCUMENTS),
        "backup": (lambda index: index.backup(folder / "copy"), DOCUMENTS),
        "export": (lambda index: index.export(folder / "all.jsonl"), DOCUMENTS),
    }
    came_to: dict[str, list[str]] = defaultdict(list)
    for name, (write, after) in writes.items():
        for room in limits or ROOMS:
            ended(forked(lambda: make(path, models[0])))
            reading, out = os.pipe()
            ended(forked(lambda: attempt(path, write, folder, room, bool(limits), out)))  # noqa: B023
            os.close(out)
            with os.fdopen(reading) as pipe:
                how = pipe.read()
            came_to[name].append(how)
            ended(forked(lambda: check(path, after if how == "done" else DOCUMENTS, models)))  # noqa: B023
            ended(forked(lambda: clear(folder)))
    return came_to


def make(path: Path, model: SentenceTransformer) -> None:
    """An index to work on; each process opens it anew."""
    builder.LEAST = 100
    with Index.create(path, model) as index:
        index.add(DOCUMENTS.values(), list(DOCUMENTS))


def attempt(path: Path, write: Callable[[Index], object], folder: Path, room: int, by_limit: bool, out: int) -> None:
    """Write where there is little room; tell whether it was done, or what was said against it."""
    with Index.open(path) as index:
        _ = index.model
        try:
            with scarce(folder, room, by_limit):
                write(index)
        except OSError as error:
            os.write(out, errno.errorcode[error.errno or 0].encode())
        else:
            os.write(out, b"done")
        assert index.verify() == []


def check(path: Path, expected: dict[str, str], models: list[SentenceTransformer]) -> None:
    """What is left is whole, is what it should be, and can be written to."""
    with Index.open(path) as index:
        assert {one.id: one.text for one in index.documents()} == expected
        assert index.verify() == []
        assert index.model.fingerprint in [model.fingerprint for model in models]
        assert len(index.search("apple", 2000)) == len(expected)
        index.add(["later"], ["later"])
        index.optimize()
        assert index.verify() == []


def clear(folder: Path) -> None:
    """Remove everything, and look whether anything is left beside its place."""
    left = [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert left == [], left
    for path in folder.iterdir():
        if path.name in ("docs.vicinal", "copy"):
            shutil.rmtree(path)
        elif path.name == "all.jsonl":
            path.unlink()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main()))
