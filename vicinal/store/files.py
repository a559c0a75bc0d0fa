"""Files that are there whole or not at all, whenever the process or the machine stops."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from vicinal.errors import FolderBusy

LOCK = "lock"
_NEW = ".new"


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path`, durably, when the block ends well; else `path` stays as it was.

    Written beside its place under a name of its own, synced, renamed, and the folder synced. A process that is killed
    may leave the name beside behind, see `leftovers`.
    """
    path = Path(os.path.realpath(path))  # what a link leads to is replaced, not the link
    new = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_NEW}")
    try:
        with new.open("xb") as file:
            if path.exists():
                shutil.copymode(path, new)
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file, atomically and durably."""
    with atomic(path) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False).encode() + b"\n")


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or removed in a folder last, where the system knows how (not on Windows)."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def leftovers(folder: Path) -> Iterator[Path]:
    """What killed writers left behind in a folder. Whoever removes them must be the folder's only writer."""
    for path in folder.glob(f".*{_NEW}"):
        if len(path.name.rsplit(".", 2)[1]) == 32:
            yield path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes into a folder; the system lets go of it when the process ends, however it does.

    Raises:
        FolderBusy: another one is.
    """
    with (folder / LOCK).open("ab") as file:
        if not _taken(file):
            raise FolderBusy(f"another process is writing into {folder}: wait until it ends, or take another folder")
        yield


def _taken(file: BinaryIO) -> bool:
    """Lock a file without waiting; False where it is locked."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            raise
        return False
    return True
