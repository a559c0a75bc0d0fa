"""What a folder of shards says of itself: how its vectors are made, and which shards are finished.

manifest.json   how the vectors are made, and, when all are there, how many
shards.jsonl    a line for each finished shard, in order, appended when its file is safely there
00000.npy ...   the shards (.parquet with the texts, where that was asked for)
lock            held by the process that writes
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from vicinal.errors import DamagedVectors, VectorsNotFound
from vicinal.store.files import atomic, write_json
from vicinal.store.vectors import checksums
from vicinal.store.vectors.formats import FORMATS, Format

logger = logging.getLogger("vicinal")

VERSION = 1
"""Of the layout; and of the way in which texts are divided into shards and batches, which decides the last bits."""
MANIFEST, SHARDS = "manifest.json", "shards.jsonl"


@dataclass(frozen=True)
class Settings:
    """All that decides the bytes of the vectors, beside the texts.

    Attributes:
        model: its name, for people.
        fingerprint: of its embedding space.
        dims: of a vector.
        prompt: before every text.
        task: the route of a model that has several.
        normalized: whether every vector is scaled to length 1.
        backend, dtype, numerics: how it is computed.
        batch_tokens, batch_size: of a batch.
        shard_rows: texts of a shard.
        format: of the shards.
    """

    model: str
    fingerprint: str
    dims: int
    prompt: str
    task: str | None
    normalized: bool
    backend: str
    dtype: str
    numerics: str
    batch_tokens: int
    batch_size: int | None
    shard_rows: int
    format: Format

    def differences(self, other: Settings) -> list[str]:
        """Which settings of another run would give other bytes: "dtype 'int8', not 'bfloat16'"."""
        pairs = ((field.name, getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return [f"{name} {there!r}, not {here!r}" for name, here, there in pairs if name != "model" and here != there]


@dataclass(frozen=True)
class Manifest:
    """The file manifest.json.

    Attributes:
        settings: how the vectors are made.
        source: what the texts are, in the words of who began.
        complete: whether every text has its vector.
        rows, shards: how many there are, when it is complete.
        table: the checksum of shards.jsonl, when it is complete.
    """

    settings: Settings
    source: Any = None
    complete: bool = False
    rows: int = 0
    shards: int = 0
    table: str | None = None

    def write(self, folder: Path) -> None:
        """Replace the file, durably."""
        about = {"vicinal vectors": VERSION, **asdict(self.settings), **_own(self)}
        write_json(folder / MANIFEST, about)

    def finished(self, rows: int, shards: int, table: str) -> Manifest:
        """The same when all is done."""
        return replace(self, complete=True, rows=rows, shards=shards, table=table)

    def begun(self) -> Manifest:
        """The same while there is something to do."""
        return Manifest(self.settings, self.source)


def _own(manifest: Manifest) -> dict[str, Any]:
    return {field.name: getattr(manifest, field.name) for field in fields(manifest) if field.name != "settings"}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a folder, None where there is none.

    Raises:
        DamagedVectors: it is not as it was written. VectorsNotFound: it has another layout.
    """
    path = folder / MANIFEST
    try:
        found = json.loads(path.read_bytes())
        version = found.pop("vicinal vectors")
        own = {field.name: found.pop(field.name) for field in fields(Manifest) if field.name != "settings"}
        if version == VERSION:
            settings = Settings(**found)
            if settings.format not in FORMATS or type(settings.dims) is not int or settings.dims < 1:
                raise ValueError(f"format {settings.format!r} and {settings.dims!r} dimensions are none")
            return Manifest(settings, **own)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedVectors(f"{path} is no manifest of vectors, or damaged ({error})") from error
    raise VectorsNotFound(f"{path} has layout {version}; this vicinal reads {VERSION}: encode the texts again")


@dataclass(frozen=True)
class Shard:
    """A line of shards.jsonl.

    Attributes:
        rows: how many texts.
        texts: their checksum, prompt left out.
        size, file: bytes and checksum of the shard's file.
    """

    rows: int
    texts: str
    size: int
    file: str

    @classmethod
    def of(cls, line: bytes) -> Shard:
        """Read a line.

        Raises:
            ValueError: it is none.
        """
        try:
            shard = cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(str(error)) from None
        sizes, sums = (shard.rows, shard.size), (shard.texts, shard.file)
        if not all(type(n) is int and n > 0 for n in sizes) or not all(isinstance(s, str) for s in sums):
            raise ValueError(f"{line!r} describes no shard")
        return shard

    @property
    def line(self) -> bytes:
        """As it is written."""
        return json.dumps(asdict(self)).encode() + b"\n"


def shard_path(folder: Path, number: int, format: Format) -> Path:
    """Where a shard is."""
    return folder / f"{number:05d}.{format}"


def read_shards(folder: Path, manifest: Manifest) -> list[Shard]:
    """The shards of a folder that is complete.

    Raises:
        DamagedVectors: the list is not as it was written.
    """
    path = folder / SHARDS
    try:
        table = path.read_bytes()
        if checksums.of_bytes(table) != manifest.table:
            raise ValueError("its checksum is not that of manifest.json")
        shards = [Shard.of(line) for line in table.splitlines()]
    except (OSError, ValueError) as error:
        raise DamagedVectors(f"{path} is not as it was written: {error}") from error
    if len(shards) != manifest.shards or sum(shard.rows for shard in shards) != manifest.rows:
        raise DamagedVectors(f"{path} and {MANIFEST} do not fit together")
    return shards


class Table:
    """The file shards.jsonl while it is written. Only one process may have it open.

    Opening it drops a line that a killed process left half written, and whatever follows a line that is no shard.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SHARDS
        raw = self._path.read_bytes() if self._path.exists() else b""
        self.shards: list[Shard] = []
        for line in raw.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                break
            try:
                self.shards.append(Shard.of(line))
            except ValueError:
                logger.warning("%s is damaged behind line %d: what follows is done again", self._path, len(self.shards))
                break
        if self._content() != raw or not self._path.exists():
            self._rewrite()

    def keep(self, number: int, shard: Shard) -> None:
        """Note a shard whose file is safely there."""
        if number < len(self.shards):
            self.shards[number] = shard
            self._rewrite()
            return
        with self._path.open("ab") as file:
            file.write(shard.line)
            file.flush()
            os.fsync(file.fileno())
        self.shards.append(shard)

    @property
    def rows(self) -> int:
        """Texts of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def checksum(self) -> str:
        """Of the file."""
        return checksums.of_bytes(self._content())

    def _content(self) -> bytes:
        return b"".join(shard.line for shard in self.shards)

    def _rewrite(self) -> None:
        with atomic(self._path) as file:
            file.write(self._content())
