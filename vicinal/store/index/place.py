"""Folders that appear when they are complete."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vicinal.errors import IndexExists
from vicinal.store.files import sync_folder


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which takes its place when the block ends well, and else is gone.

    Raises:
        IndexExists: something else than an empty folder is in its place.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise IndexExists(f"{folder} is there already: Index.open opens an index; or give another path")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.new")
    new.mkdir()
    try:
        yield new
        sync_folder(new)
        try:
            new.rename(folder)  # an empty folder gives way
        except OSError as error:
            raise IndexExists(f"{folder} is there already: {error.strerror}") from None
        sync_folder(folder.parent)
    finally:
        if new.exists():
            shutil.rmtree(new)
