"""Writes vectors as they come, beside the output's place, and puts them there when all went well."""

from __future__ import annotations

import errno
import importlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import typer

from vicinal.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Writer(Protocol):
    """A file format for vectors, in portions.

    Args:
        file: that is written to.
        dims: of every vector.
        facts: about them, for formats that have room.
    """

    def __init__(self, file: BinaryIO, dims: int, facts: Mapping[str, str]) -> None: ...

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Write (n, dims) vectors of n texts."""

    def finish(self) -> None:
        """Write what can only be known at the end."""


class Npy:
    """NumPy's .npy, (rows, dims) little-endian float32: the vectors alone."""

    def __init__(self, file: BinaryIO, dims: int, facts: Mapping[str, str]) -> None:
        self._file, self._dims, self._rows = file, dims, 0
        file.write(npy_header(0, dims))

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        self._file.write(vectors.astype("<f4", copy=False).tobytes())
        self._rows += len(vectors)

    def finish(self) -> None:
        self._file.seek(0)
        self._file.write(npy_header(self._rows, self._dims))


def npy_header(rows: int, dims: int) -> bytes:
    """The 128 bytes before the data, of one length whatever the shape, so that the row count can come last.

    Source: the format's description in `numpy.lib.format`, version 1.0.
    """
    shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dims}), }}".encode()
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + shape.ljust(117) + b"\n"


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


class Parquet:
    """Columns "text" and "embedding"; the facts are the schema's metadata."""

    def __init__(self, file: BinaryIO, dims: int, facts: Mapping[str, str]) -> None:
        self._arrow = require("parquet", "writing parquet")
        self._type = self._arrow.list_(self._arrow.float32(), dims)
        schema = self._arrow.schema([("text", self._arrow.string()), ("embedding", self._type)], metadata=dict(facts))
        self._writer = importlib.import_module("pyarrow.parquet").ParquetWriter(file, schema)

    def add(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        arrow = self._arrow
        embeddings = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.reshape(-1)), type=self._type)
        columns = [arrow.array(texts, arrow.string()), embeddings]
        self._writer.write_batch(arrow.record_batch(columns, schema=self._writer.schema))

    def finish(self) -> None:
        self._writer.close()


_WRITERS: dict[str, type[Any]] = {".npy": Npy, ".jsonl": Jsonl, ".parquet": Parquet}


def writer_for(path: Path, inputs: Sequence[str]) -> type[Writer]:
    """The format that a path's suffix names; called before any work.

    Raises:
        BadParameter: there is no such format, or the output is an input. MissingExtra: it needs something.
        OSError: nothing can be written there.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        known = ", ".join(_WRITERS)
        raise typer.BadParameter(f"{str(path)!r} must end in one of {known}", param_hint="--output")
    if writer is Parquet:
        require("parquet", f"writing {path}")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write into", str(path.parent))
    if path.exists() and any(os.path.exists(name) and os.path.samefile(path, name) for name in inputs):
        raise typer.BadParameter(f"{path} is also an input, and would be replaced", param_hint="--output")
    return writer


@contextmanager
def beside(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well, and leaves nothing when it does not."""
    path = Path(os.path.realpath(path))
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("wb") as file:
            if path.exists():
                shutil.copymode(path, new)
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
