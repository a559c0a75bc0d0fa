"""Matrices of vectors in files: NumPy's .npy and Parquet, written in portions and read again."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol, TypeAlias

from vicinal.extras import require

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Format: TypeAlias = Literal["npy", "parquet"]
FORMATS: tuple[Format, ...] = ("npy", "parquet")


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


def write_shard(
    file: BinaryIO, format: Format, texts: Sequence[str], vectors: NDArray[np.float32], facts: Mapping[str, str]
) -> None:
    """A whole file, front to back: the same bytes for the same vectors, texts and facts."""
    if format == "npy":
        file.write(npy_header(*vectors.shape))
        file.write(vectors.astype("<f4", order="C", copy=False).data)
    else:
        writer = Parquet(file, vectors.shape[1], facts)
        writer.add(texts, vectors)
        writer.finish()


def read_shard(path: Path, format: Format) -> NDArray[np.float32]:
    """The vectors of a file: memory-mapped and read-only where the format allows, else read."""
    import numpy as np

    if format == "npy":
        mapped: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        return mapped
    require("parquet", f"reading {path}")
    column = importlib.import_module("pyarrow.parquet").read_table(path, columns=["embedding"]).column(0)
    column = column.combine_chunks()
    rows: NDArray[np.float32] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    rows.flags.writeable = False
    return rows


def read_texts(path: Path) -> list[str]:
    """The texts of a Parquet file."""
    require("parquet", f"reading {path}")
    table: Any = importlib.import_module("pyarrow.parquet").read_table(path, columns=["text"])
    texts: list[str] = table.column(0).to_pylist()
    return texts
