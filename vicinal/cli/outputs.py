"""Writes vectors as they come, in the format that the output's name says."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from vicinal.extras import require
from vicinal.store.vectors.formats import Npy, Parquet, Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Jsonl:
    """{"text": ..., "embedding": [...]} a line; nine digits are enough to give every float32 back exactly."""

    def __init__(self, file: BinaryIO, dims: int, facts: Mapping[str, str]) -> None:
        self._file = file
        self._numbers = ", ".join(["%.9g"] * dims)

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        for text, vector in zip(texts, vectors.tolist(), strict=True):
            numbers = self._numbers % tuple(vector)
            self._file.write(f'{{"text": {json.dumps(text)}, "embedding": [{numbers}]}}\n'.encode())

    def finish(self) -> None:
        pass


_WRITERS: dict[str, type[Any]] = {".npy": Npy, ".jsonl": Jsonl, ".parquet": Parquet}


def is_folder(path: Path) -> bool:
    """Whether vectors go into a folder of shards: one that is there, or a name without a suffix."""
    return path.is_dir() or not path.suffix


def writer_for(path: Path, inputs: Sequence[str]) -> type[Writer]:
    """The format that a path's suffix names; called before any work.

    Raises:
        BadParameter: there is no such format, or the output is an input. MissingExtra: it needs something.
        OSError: nothing can be written there.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        known = ", ".join(_WRITERS)
        raise typer.BadParameter(f"{str(path)!r} must end in one of {known}, or be a folder", param_hint="--output")
    if writer is Parquet:
        require("parquet", f"writing {path}")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write into", str(path.parent))
    if path.exists() and any(os.path.exists(name) and os.path.samefile(path, name) for name in inputs):
        raise typer.BadParameter(f"{path} is also an input, and would be replaced", param_hint="--output")
    return writer
