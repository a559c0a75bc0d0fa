"""Documents of a file, by its suffix: what they are called, their texts, and what is known of them."""

from __future__ import annotations

import codecs
import csv
import datetime
import importlib
import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from vicinal.errors import InvalidData
from vicinal.extras import require
from vicinal.store.ingest import html

_RECORDS, _BUFFER = 256, 1 << 20
"""Rows of a parquet file at a time, and bytes of a column."""
LONGEST = 1 << 26
"""Bytes of a text, or of a line of a table: what is at hand while a file is read."""
csv.field_size_limit(LONGEST)


@dataclass(frozen=True)
class Settings:
    """How files are read.

    Attributes:
        column: of csv, tsv and parquet files, or the field of jsonl objects, that has the text.
        id_column: what names a row; None is its number.
    """

    column: str = "text"
    id_column: str | None = None


@dataclass(frozen=True)
class Found:
    """A document of a file.

    Attributes:
        part: what tells it from the others of its file; "" where it is the whole file.
        text: of it.
        metadata: what is known of it besides its file.
    """

    part: str
    text: str
    metadata: dict[str, Any]


def suffixes() -> tuple[str, ...]:
    """The endings of files that can be read."""
    return tuple(_READERS)


def read(path: Path, file: BinaryIO, settings: Settings) -> Iterator[Found]:
    """The documents of a file, one after another; those without any text are left out.

    Args:
        path: what the file is called.
        file: at its beginning. Of a table, a row at a time is read.

    Raises:
        InvalidData: it is not as its suffix says. MissingExtra: a package is needed to read it.
    """
    for found in _READERS[path.suffix.lower()](path, file, settings):
        if found.text.strip():
            yield found


def _whole(path: Path, file: BinaryIO) -> bytes:
    """All of a file that is one document."""
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise InvalidData(
            f"{path} has more than {LONGEST >> 20} MiB, and would be one document: divide it, or make a .jsonl file of "
            "it with a text a line"
        )
    return data


def _decoded(data: bytes, place: str, encoding: str = "utf-8") -> str:
    try:
        text = data.decode(encoding)
    except LookupError:
        raise InvalidData(f"{place} says that it is encoded in {encoding!r}, which Python does not know") from None
    except UnicodeDecodeError as error:
        raise InvalidData(f"{place} is not {encoding} ({error.reason} at byte {error.start}): convert it") from None
    if "\0" in text:
        raise InvalidData(f"{place} holds a zero byte: this is no text")
    return text


def _lines(path: Path, file: BinaryIO) -> Iterator[str]:
    """The lines of a file, with their ends."""
    number = 1
    while line := file.readline(LONGEST + 1):
        if len(line) > LONGEST:
            raise InvalidData(f"{path}:{number} has more than {LONGEST >> 20} MiB")
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)
        yield _decoded(line, f"{path}:{number}")
        number += 1


def _text(path: Path, file: BinaryIO, settings: Settings) -> Iterator[Found]:
    yield Found("", _decoded(_whole(path, file).removeprefix(codecs.BOM_UTF8), str(path)), {})


def _html(path: Path, file: BinaryIO, settings: Settings) -> Iterator[Found]:
    data = _whole(path, file).removeprefix(codecs.BOM_UTF8)
    text, title = html.text(_decoded(data, str(path), html.encoding(data)))
    yield Found("", text, {"title": title} if title else {})


def _pdf(path: Path, file: BinaryIO, settings: Settings) -> Iterator[Found]:
    """A document a page."""
    pypdf = require("ingest", f"reading {path}")
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # what it cannot read is an error below, or empty
    try:
        for number, page in enumerate(pypdf.PdfReader(file).pages, 1):
            text = page.extract_text().encode("utf-8", "replace").decode()
            yield Found(f"page={number}", text.replace("\0", ""), {"page": number})
    except Exception as error:
        raise InvalidData(f"{path} cannot be read as PDF: {type(error).__name__}: {error}") from error


def _table(path: Path, file: BinaryIO, settings: Settings) -> Iterator[Found]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    lines = (part for line in _lines(path, file) for part in io.StringIO(line, newline=""))  # a lone \\r ends one too
    rows = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        if rows.fieldnames is None:
            return
        _has(path, settings, rows.fieldnames)
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values():
                raise InvalidData(f"{path}: row {number} has not the {len(rows.fieldnames)} columns of the header")
            yield _row(path, number, row, settings)
    except csv.Error as error:
        raise InvalidData(f"{path}: line {rows.line_num}: {error}") from None


def _objects(path: Path, file: BinaryIO, settings: Settings) -> Iterator[Found]:
    for number, line in enumerate(_lines(path, file), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidData(f"{path}:{number} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidData(f"{path}:{number} is no JSON object")
        _has(path, settings, value)
        yield _row(path, number, value, settings)


def _parquet(path: Path, file: BinaryIO, settings: Settings) -> Iterator[Found]:
    pyarrow = require("parquet", f"reading {path}")
    try:
        table = importlib.import_module("pyarrow.parquet").ParquetFile(file, buffer_size=_BUFFER)
        _has(path, settings, table.schema_arrow.names)
        number = 0
        for batch in table.iter_batches(_RECORDS):
            for row in batch.to_pylist():
                number += 1
                yield _row(path, number, row, settings)
    except pyarrow.ArrowException as error:
        raise InvalidData(f"{path} cannot be read as parquet: {error}") from None


def _has(path: Path, settings: Settings, columns: Any) -> None:
    for name, option in ((settings.column, "--column"), (settings.id_column, "--id-column")):
        if name is not None and name not in columns:
            listed = ", ".join(map(repr, columns)) or "none"
            raise InvalidData(f"{path} has no column {name!r} ({option}); it has {listed}")


def _row(path: Path, number: int, row: dict[str, Any], settings: Settings) -> Found:
    """A record of a table: its other columns are metadata."""
    text = row[settings.column]
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise InvalidData(f"{path}: row {number}: the text is of type {type(text).__name__}, not a string")
    part = f"row={number}"
    if settings.id_column is not None:
        part = str(row[settings.id_column])
    facts = {name: _plain(value) for name, value in row.items() if name not in (settings.column, settings.id_column)}
    return Found(part, text, {"row": number, **facts})


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63:
        return str(value)
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value)


_READERS: dict[str, Callable[[Path, BinaryIO, Settings], Iterator[Found]]] = {
    ".txt": _text, ".md": _text, ".markdown": _text, ".rst": _text, ".html": _html, ".htm": _html, ".pdf": _pdf,
    ".csv": _table, ".tsv": _table, ".jsonl": _objects, ".ndjson": _objects, ".parquet": _parquet,
}  # fmt: skip
