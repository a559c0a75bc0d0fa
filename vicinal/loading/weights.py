"""Tensors of safetensors files, memory-mapped: read without copying, written beside and swapped in.

Format: https://huggingface.co/docs/safetensors (eight bytes of header length, a JSON header, the data).
"""

from __future__ import annotations

import json
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import DamagedModel, UnsupportedModel

# bfloat16 has no NumPy type: its 16 bits are the upper half of a float32.
_STORED: Mapping[str, type[Any]] = {
    "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16,
    "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8, "U8": np.uint8, "BOOL": np.bool_,
}  # fmt: skip
_NAMES = {np.dtype(kind): name for name, kind in _STORED.items() if name != "BF16"}
_LARGEST_HEADER = 100_000_000
_MOST_AXES = 32


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named tensor as it is stored.

    Attributes:
        name: as the checkpoint has it.
        dtype: the file format's name, "F32", "BF16", ...
        array: the stored values; 16-bit patterns (uint16) for BF16. Never written to.
        file: where it came from, for messages.
    """

    name: str
    dtype: str
    array: NDArray[Any]
    file: Path | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def numeric(self) -> NDArray[Any]:
        """The values in a type that NumPy computes with: float32 for every float but float64."""
        return _widen(self.array, self.dtype)

    def rows(self, ids: NDArray[Any]) -> NDArray[Any]:
        """`numeric()[ids]`, widening only the rows that are read."""
        return _widen(self.array[ids], self.dtype)

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> Tensor:
        """A tensor from an array in memory."""
        return cls(name, _NAMES[array.dtype], np.ascontiguousarray(array))


def _widen(array: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32) if dtype == "F16" else array


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Map a file's tensors, copy-on-write: nothing is read until it is used.

    Raises:
        DamagedModel: the file is truncated, its header is not readable, or a tensor lies outside the data.
        UnsupportedModel: a tensor has a type that is not handled.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(size - 8, _LARGEST_HEADER):
            raise DamagedModel(
                f"{path} is truncated or no safetensors file: {size:,} bytes, of which the header claims {length:,}. "
                "Download or copy it again."
            )
        header = _parse_header(path, file.read(length))
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    start, end = 8 + length, size - 8 - length
    tensors = {}
    spans = sorted(span for _, _, span in header.values())
    if any(before[1] != after[0] for before, after in pairwise([(0, 0), *spans])):
        raise DamagedModel(f"{path}: tensors overlap or leave holes; the header is damaged, or made to deceive")
    for name, entry in header.items():
        dtype, shape, (first, last) = entry
        if dtype not in _STORED:
            raise UnsupportedModel(f"{path}: tensor {name} has type {dtype}; read here are {', '.join(_STORED)}")
        kind = np.dtype(_STORED[dtype])
        if len(shape) > _MOST_AXES:
            raise DamagedModel(f"{path}: tensor {name} claims {len(shape)} axes; the header is damaged")
        if not 0 <= first <= last <= end or last - first != math.prod(shape) * kind.itemsize:
            raise DamagedModel(
                f"{path}: tensor {name} {dtype} {list(shape)} lies at bytes {first:,} to {last:,} of {end:,} "
                "and does not fit there: the file is truncated or damaged. Download or copy it again."
            )
        array = np.frombuffer(data, kind, math.prod(shape), start + first).reshape(shape)
        tensors[name] = Tensor(name, dtype, array if array.flags.aligned else array.copy(), path)
    return tensors


def _parse_header(path: Path, raw: bytes) -> dict[str, tuple[str, tuple[int, ...], tuple[int, int]]]:
    try:
        header = json.loads(raw, object_pairs_hook=_once)
        parsed = {}
        for name, entry in header.items():
            if name != "__metadata__":
                shape, (first, last) = tuple(entry["shape"]), entry["data_offsets"]
                if not all(type(n) is int and 0 <= n < 1 << 40 for n in (*shape, first, last)):
                    raise ValueError(f"tensor {name} has shape {shape}")
                parsed[name] = (str(entry["dtype"]), shape, (first, last))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedModel(f"{path}: the safetensors header cannot be read ({error!r})") from error
    return parsed


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors beside `path` and swap the file in, so that a reader, or a map of the old file, never sees half."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    # widest types first, as the format's own writer has it, so that every tensor is aligned
    order = sorted(tensors, key=lambda name: (-tensors[name].array.dtype.itemsize, name))
    for name in order:
        tensor = tensors[name]
        header[name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.array.nbytes],
        }
        offset += tensor.array.nbytes
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            for name in order:
                file.write(np.ascontiguousarray(tensors[name].array).data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def plain_table(table: Tensor, scale: Tensor | None) -> Tensor:
    """A static model's vectors as float32: `table` (tokens, width) of any type, times `scale` (tokens, 1)."""
    values = table.numeric() if scale is None else table.numeric() * scale.numeric()
    return Tensor.of(table.name, values.astype(np.float32))


class Scope:
    """The tensors of one module by name, under a prefix; remembers which were read.

    >>> w = Scope({"a.b.weight": Tensor.of("a.b.weight", np.zeros((2, 3), np.float32))})
    >>> w.at("a.b").tensor("weight", 2, 3).shape
    (2, 3)
    >>> w.unread()
    []
    """

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str = "", read: set[str] | None = None) -> None:
        self._tensors, self._prefix = tensors, prefix
        self._read = set() if read is None else read

    def at(self, name: str, separator: str = ".") -> Scope:
        """The scope below `name`."""
        return Scope(self._tensors, f"{self._prefix}{name}{separator}", self._read)

    def tensor(self, name: str, *shape: int) -> Tensor:
        """The tensor, whose shape must be this.

        Raises:
            DamagedModel: it is missing or has another shape; file and tensor are named.
        """
        found = self.find(name, *shape)
        if found is None:
            raise DamagedModel(
                f"{self._file()}: tensor {(self._prefix + name).rpartition('/')[2]} {list(shape)} is missing, "
                "which the configuration asks for. The weights do not belong to this configuration, or are incomplete."
            )
        return found

    def find(self, name: str, *shape: int) -> Tensor | None:
        """The same, or None when there is no such tensor."""
        found = self._tensors.get(self._prefix + name)
        if found is None:
            return None
        self._read.add(self._prefix + name)
        if found.shape != shape:
            raise DamagedModel(
                f"{found.file}: tensor {found.name} has shape {list(found.shape)}; the configuration "
                f"asks for {list(shape)}"
            )
        return found

    def read(self) -> Iterator[tuple[str, Tensor]]:
        """What was read, by name, in order of name."""
        return ((name, self._tensors[name]) for name in sorted(self._read))

    def unread(self) -> list[str]:
        """Names below the root that nothing read."""
        return sorted(set(self._tensors) - self._read)

    def _file(self) -> object:
        """The file that has the tensors nearest to this scope."""
        folder = self._prefix.rpartition("/")[0] + "/"
        near = [tensor for name, tensor in self._tensors.items() if name.startswith(folder)]
        return next((tensor.file for tensor in (*near, *self._tensors.values()) if tensor.file), "weights")
