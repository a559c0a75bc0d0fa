"""128-bit checksums of texts and of files, by which a change or damage is found."""

from __future__ import annotations

import io
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

from vicinal.text.tokens import Text

_BYTES = 16
_PIECE = 1 << 20


def of_texts(texts: Iterable[Text]) -> str:
    """Of texts, or pairs of them, in their order: no other cutting of the same characters gives the same."""
    digest = blake2b(digest_size=_BYTES)
    for text in texts:
        parts = (text,) if isinstance(text, str) else text
        digest.update(bytes([len(parts)]))
        for part in parts:
            # Half a surrogate pair has no UTF-8; the tokenizer will say what is wrong.
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def of_bytes(data: bytes) -> str:
    """Of bytes."""
    return blake2b(data, digest_size=_BYTES).hexdigest()


def of_file(path: Path) -> str:
    """Of a file's bytes, as `Measured` tells it."""
    digest = blake2b(digest_size=_BYTES)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


class Measured(io.RawIOBase):
    """Writes into another file, front to back, and knows how much and what it was.

    Args:
        file: that is written into; it stays open.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self.bytes = file, blake2b(digest_size=_BYTES), 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Write bytes."""
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._digest.update(view)
        self.bytes += len(view)
        return len(view)

    def tell(self) -> int:
        """Bytes so far."""
        return self.bytes

    @property
    def checksum(self) -> str:
        """Of everything written so far."""
        return self._digest.hexdigest()
