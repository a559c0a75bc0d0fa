"""What a cache keeps of a text: its vector, how many tokens it has, what it cost; and how damage is found.

A row is a header, the vector, and a checksum over the row's key and all that stands before the checksum. So a row that
was cut, altered, or put under another key is known for what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

StorageDtype = Literal["float32", "float16"]

_KINDS: dict[StorageDtype, tuple[bytes, str]] = {"float32": (b"vf32", "<f4"), "float16": (b"vf16", "<f2")}
_RESIDUE = 0x2144DF1C
"""The CRC-32 of anything that ends with its own CRC-32 in little-endian order."""
_CHECK = 4  # bytes of the checksum
# A vector whose largest component lies between these loses at most 2**-12 of a component in float16, or 2**-17 of the
# largest where that is more.
_HALF_RANGE = (2.0**-8, 60000.0)


@dataclass(frozen=True, eq=False)
class Found:
    """Rows that a cache had.

    Attributes:
        rows: their numbers among the keys that were asked for, ascending.
        vectors: (n, width) float32, the caller's own.
        tokens: of each text before it was cut; 0 where the cache does not know.
        seconds: what computing them took, together.
        damaged: rows that the cache had, but not as they were written.
    """

    rows: NDArray[np.int64]
    vectors: NDArray[np.float32]
    tokens: NDArray[np.int64]
    seconds: float
    damaged: int


def pack(
    keys: Sequence[bytes],
    vectors: NDArray[np.float32],
    tokens: NDArray[np.int64],
    seconds: float,
    dtype: StorageDtype,
) -> list[bytes]:
    """Rows to keep, in the order of the keys.

    Args:
        keys: (n) of these texts.
        vectors: (n, width); in float16 they are `halved` before.
        tokens: (n,) of each text before it was cut.
        seconds: what computing all of them took.
    """
    wide = np.full(len(keys), dtype == "float32")
    if dtype == "float16":
        wide = ~_fits(vectors)
    packed: list[bytes] = [b""] * len(keys)
    for kind, chosen in (("float32", wide), ("float16", ~wide)):
        numbers = np.flatnonzero(chosen)
        table = np.zeros(len(numbers), _layout(kind, vectors.shape[1]))  # type: ignore[arg-type]
        table["kind"] = _KINDS[kind][0]  # type: ignore[index]
        table["tokens"] = tokens[numbers]
        table["seconds"] = seconds / max(len(keys), 1)
        table["vector"] = vectors[numbers]
        size = table.itemsize - _CHECK
        content = memoryview(table.tobytes())
        for i, number in enumerate(numbers.tolist()):
            row = content[i * (size + _CHECK) : i * (size + _CHECK) + size]
            packed[number] = b"".join((row, crc32(row, crc32(keys[number])).to_bytes(4, "little")))
    return packed


def unpack(keys: Sequence[bytes], stored: Sequence[object], width: int, dtype: StorageDtype) -> Found:
    """The vectors in what a cache gave for some keys.

    Args:
        stored: for every key a row, a float array (width,), or None.
        width: of a vector.
        dtype: what the cache keeps. Where that is float32, a row in float16 counts as missing.
    """
    vectors = np.empty((len(keys), width), np.float32)
    tokens = np.zeros(len(keys), np.int64)
    there = np.zeros(len(keys), bool)
    seconds, coarse = 0.0, 0
    for kind in _KINDS:
        layout = _layout(kind, width)
        numbers = [
            i
            for i, row in enumerate(stored)
            if isinstance(row, bytes) and len(row) == layout.itemsize and crc32(row, crc32(keys[i])) == _RESIDUE
        ]
        if kind == "float16" and dtype == "float32":
            coarse = len(numbers)
        elif numbers:
            table = np.frombuffer(b"".join([stored[i] for i in numbers]), layout)  # type: ignore[misc]
            right = (table["kind"] == _KINDS[kind][0]) & np.isfinite(table["vector"]).all(axis=1)
            chosen = np.array(numbers)[right]
            vectors[chosen], tokens[chosen], there[chosen] = table["vector"][right], table["tokens"][right], True
            seconds += float(table["seconds"][right].sum())
    for i, row in enumerate(stored):
        if isinstance(row, np.ndarray) and row.shape == (width,) and row.dtype.kind == "f" and np.isfinite(row).all():
            vectors[i], there[i] = row, True
    rows = np.flatnonzero(there)
    given = len(stored) - sum(row is None for row in stored)
    found = vectors if len(rows) == len(keys) else vectors[rows]
    return Found(
        rows, halved(found) if dtype == "float16" else found, tokens[rows], seconds, given - len(rows) - coarse
    )


def is_whole(key: bytes, row: bytes) -> bool:
    """Whether a row is as it was written under its key."""
    return len(row) > _layout("float16", 0).itemsize and crc32(row, crc32(key)) == _RESIDUE


def described(row: bytes) -> dict[str, Any]:
    """A whole row's vector, tokens of its text, and seconds."""
    kind: StorageDtype = next(kind for kind, (mark, _) in _KINDS.items() if row.startswith(mark))
    empty, one = (_layout(kind, width).itemsize for width in (0, 1))
    (found,) = np.frombuffer(row, _layout(kind, (len(row) - empty) // (one - empty)))
    vector = found["vector"].astype(np.float32)
    return {"tokens": int(found["tokens"]), "seconds": float(found["seconds"]), "vector": vector}


def halved(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vectors rounded as float16 keeps them; those that do not fit into its range stay as they are."""
    return np.where(_fits(vectors)[:, None], _half(vectors), vectors)


def _fits(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    top = np.abs(vectors).max(axis=1, initial=0)
    return np.asarray((top >= _HALF_RANGE[0]) & (top <= _HALF_RANGE[1]))


def _half(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return vectors.astype(np.float16).astype(np.float32)


def _layout(kind: StorageDtype, width: int) -> np.dtype[np.void]:
    return np.dtype(
        [("kind", "S4"), ("tokens", "<u4"), ("seconds", "<f4"), ("vector", _KINDS[kind][1], (width,)), ("check", "<u4")]
    )
