"""What goes into an index and comes out of it: texts with ids and metadata, checked before anything is done."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vicinal.errors import DuplicateId, InvalidInput
from vicinal.store.index import schema

NULL, BOOLEAN, NUMBER, TEXT, OTHER = range(5)
"""Kinds of metadata values; those of different kinds are never equal, greater or less."""


@dataclass(frozen=True)
class Document:
    """A document of an index.

    Attributes:
        id: its own.
        text: all of it.
        metadata: what was stored with it.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Incoming:
    """A document that is to be stored.

    Attributes:
        key: its id.
        metadata: as JSON.
        values: (name, kind, value) of each metadata field, as filters see them.
        hash: of the text.
    """

    key: str
    text: str
    metadata: str
    values: Sequence[tuple[str, int, Any]]
    hash: bytes


def incoming(
    texts: Iterable[str], ids: Sequence[str] | None, metadata: Sequence[Mapping[str, Any] | None] | None
) -> list[Incoming]:
    """Check what the caller gives.

    Raises:
        InvalidInput: a text, id or metadata is none; the row is named. DuplicateId: an id is given twice.
        ValueError: there are not as many of each.
    """
    if isinstance(texts, str):
        raise InvalidInput("give a list of texts, [text] for a single one")
    rows = list(texts)
    for name, given in (("ids", ids), ("metadata", metadata)):
        if isinstance(given, (str, Mapping)):
            raise InvalidInput(f"{name} must be a list, one for each text")
        if given is not None and len(given) != len(rows):
            raise ValueError(f"there are {len(rows)} texts, but {len(given)} {name}")
    keys = [uuid.uuid4().hex for _ in rows] if ids is None else list(ids)
    seen: dict[str, int] = {}
    result = []
    for i, (text, key) in enumerate(zip(rows, keys, strict=True)):
        _check_text(text, f"row {i}: the text")
        _check_text(key, f"row {i}: the id")
        if key in seen:
            raise DuplicateId(f"the id {key!r} is given twice, in rows {seen[key]} and {i}")
        seen[key] = i
        facts = metadata[i] if metadata is not None else None
        result.append(Incoming(key, text, *flattened({} if facts is None else facts, f"row {i}"), text_hash(text)))
    return result


def check_ids(ids: Any) -> list[str]:
    """Ids that are looked for, each once.

    Raises:
        InvalidInput: one is no text.
    """
    keys = [ids] if isinstance(ids, str) else list(ids)
    for i, key in enumerate(keys):
        _check_text(key, f"row {i}: the id")
    return list(dict.fromkeys(keys))


def _check_text(value: Any, name: str) -> None:
    if not isinstance(value, str):
        kind = "None" if value is None else f"of type {type(value).__name__}"
        raise InvalidInput(f"{name} is {kind}, not a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"{name} holds half of a surrogate pair at {error.start}, which is no character: "
                "text.encode('utf-8', 'replace').decode() replaces it"
            ) from None


_COLUMNS = "id, key, chunks, hash, sum, metadata, text"


def read(db: sqlite3.Connection, file: Path, key: str) -> Document | None:
    """The document of an id.

    Raises:
        DamagedIndex: it is not as it was written.
    """
    row = db.execute(f"SELECT {_COLUMNS} FROM document WHERE key = ?", (key,)).fetchone()
    return None if row is None else checked(row, file)


def read_all(db: sqlite3.Connection, file: Path) -> Iterator[Document]:
    """All documents, in the order in which they came.

    Raises:
        DamagedIndex: one is not as it was written.
    """
    for row in db.execute(f"SELECT {_COLUMNS} FROM document ORDER BY id"):
        yield checked(row, file)


def by_number(db: sqlite3.Connection, file: Path, number: int) -> Document:
    """The document of a number.

    Raises:
        DamagedIndex: it is gone, or not as it was written.
    """
    return by_numbers(db, file, [number])[number]


def by_numbers(db: sqlite3.Connection, file: Path, numbers: Sequence[int]) -> dict[int, Document]:
    """The documents of some numbers.

    Raises:
        DamagedIndex: one is gone, or not as it was written.
    """
    rows = schema.numbered(db, f"SELECT {_COLUMNS} FROM document WHERE id IN", numbers)
    found = {row[0]: checked(row, file) for row in rows}
    for number in numbers:
        if number not in found:
            raise schema.damaged(file, f"document {number} is gone, but its chunks are there")
    return found


def checked(row: tuple[Any, ...], file: Path) -> Document:
    """A row of `document` as what it says.

    Raises:
        DamagedIndex: it is not as it was written.
    """
    number, key, chunks, hash_, sum_, metadata, text = row
    if document_sum(number, key, chunks, hash_, metadata) != sum_ or text_hash(text) != hash_:
        raise schema.damaged(file, f"document {key!r} is not as it was written")
    return Document(key, text, json.loads(metadata))


def document_sum(number: int, key: str, chunks: int, hash_: bytes, metadata: str) -> int:
    """The checksum of all of a document but its text, which its hash is of."""
    return schema.summed(number, key, chunks, hash_.hex(), metadata)


def text_hash(text: str) -> bytes:
    """128 bits of BLAKE2b: two texts with one hash are the same text."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def flattened(metadata: Any, where: str) -> tuple[str, list[tuple[str, int, Any]]]:
    """Metadata as JSON, and its values as filters see them.

    NumPy's numbers are stored as Python's, so that rows of a table can be given.

    Raises:
        InvalidInput: it is no mapping from names to JSON values.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidInput(f"{where}: metadata must be a mapping, not {type(metadata).__name__}")
    metadata = {name: value.item() if isinstance(value, np.generic) else value for name, value in metadata.items()}
    _check_json(metadata, f"{where}: metadata", 0)
    text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, sort_keys=True)
    return text, [(name, *kind_of(value)) for name, value in metadata.items()]


_DEEPEST = 50


def _check_json(value: Any, where: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise InvalidInput(f"{where} is nested more than {_DEEPEST} deep")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_text(key, f"{where}: the name {key!r}")
            _check_json(inner, f"{where}[{key!r}]", depth + 1)
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            _check_json(inner, f"{where}[{i}]", depth + 1)
    elif isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidInput(f"{where} is {value}, which JSON has not")
    elif isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise InvalidInput(f"{where} is {value}, which takes more than 64 bits: store it as a text")
    elif value is not None:
        raise InvalidInput(f"{where} is of type {type(value).__name__}; texts, numbers, true, false, None, lists and "
                           "mappings can be stored")  # fmt: skip


def kind_of(value: Any) -> tuple[int, Any]:
    """A JSON value as filters see it: its kind, and what it is compared by."""
    if value is None:
        return NULL, 0
    if isinstance(value, bool):
        return BOOLEAN, int(value)
    if isinstance(value, (int, float)):
        return NUMBER, value
    if isinstance(value, str):
        return TEXT, value
    return OTHER, 0
