"""Reads texts from files and standard input, one at a time. Whatever is no text is named by file and line."""

from __future__ import annotations

import codecs
import csv
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

from vicinal.cli.rows import STDIN, Format, Reading, Row
from vicinal.errors import InvalidInput
from vicinal.extras import require

LONGEST = 1 << 20
"""Characters of a line or field. No model reads so much, and its tokens would take half a gigabyte."""
_RECORDS = 1024  # of a parquet file at a time


def read(inputs: Iterable[str], reading: Reading) -> Iterator[Row]:
    """The rows of all inputs, in order.

    Raises:
        InvalidInput: something in them is no text. OSError: they cannot be read.
    """
    for name in inputs:
        yield from _READERS[reading.format_of(name)](name, "stdin" if name == STDIN else name, reading)


def count(inputs: Sequence[str], reading: Reading) -> int | None:
    """About how many rows there are, for a progress bar; None where an input can be read only once."""
    if not all(os.path.isfile(name) for name in inputs):
        return None
    total = 0
    for name in inputs:
        if reading.format_of(name) is Format.parquet:
            with _parquet(name) as parquet:
                total += parquet.metadata.num_rows
        else:
            with open(name, "rb") as file:
                total += sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
    return total


@contextmanager
def _stream(name: str, encoding: str) -> Iterator[IO[str]]:
    """An input as characters; bytes that are none become lone surrogates, which `_line` looks for."""
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"  # a byte order mark is no part of the first text
    if name != STDIN:
        with open(name, encoding=encoding, errors="surrogateescape", newline="\n") as file:
            yield file
        return
    stream = io.TextIOWrapper(sys.stdin.buffer, encoding, "surrogateescape", newline="\n")
    try:
        yield stream
    finally:
        stream.detach()  # standard input stays open


def _lines(name: str, file: str, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines of an input, from 1, with their ends."""
    number = 1
    with _stream(name, encoding) as stream:
        while line := _line(stream, f"{file}:{number}", encoding):
            yield number, line
            number += 1


def _line(stream: IO[str], place: str, encoding: str) -> str:
    """The next line, "" at the end.

    Raises:
        InvalidInput: it is not in that encoding, holds a zero byte, or is endless.
    """
    try:
        line = stream.readline(LONGEST + 1)
        if not line.isascii():
            line.encode()
    except UnicodeError as error:
        what = str(error)
        if isinstance(error, UnicodeEncodeError):  # a surrogate that stands for a byte
            what = f"byte {ord(error.object[error.start]) - 0xDC00:#x}"
        advice = "convert it, or name its encoding with --encoding"
        raise InvalidInput(f"{place} is not {encoding} ({what}): {advice}") from None
    if "\0" in line:
        raise InvalidInput(f"{place} holds a zero byte: this is no text, or in another --encoding (utf-16?)")
    if len(line) > LONGEST:
        raise InvalidInput(
            f"{place} has more than {LONGEST:,} characters: split it, or is this no file with one text a line?"
        )
    return line


def _texts(name: str, file: str, reading: Reading) -> Iterator[Row]:
    """A text a line; blank lines are texts too."""
    for number, line in _lines(name, file, reading.encoding):
        yield Row(line.removesuffix("\n").removesuffix("\r"), file, number)


def _objects(name: str, file: str, reading: Reading) -> Iterator[Row]:
    """A JSON object a line, or a JSON string; blank lines are passed over."""
    for number, line in _lines(name, file, reading.encoding):
        if line.isspace():
            continue
        place = f"{file}:{number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"{place} is not JSON: {error}") from None
        if isinstance(value, dict):
            if reading.field not in value:
                raise InvalidInput(f"{place} has no field {reading.field!r} (--field); it has {_listed(value)}")
            value = value[reading.field]
        yield Row(_text(value, place), file, number)


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        kind = "null" if value is None else f"of type {type(value).__name__}"
        raise InvalidInput(f"{place}: the text is {kind}, not a string")
    return value


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"


def _table(name: str, file: str, reading: Reading) -> Iterator[Row]:
    """A record with a header above; a record may go over several lines, and empty lines are none."""
    records = _csv_records(name, file, reading)
    header = next(records, None)
    if header is None:
        raise InvalidInput(f"{file} is empty: the first line of a csv or tsv file names its columns")
    at = _position(header[1], reading.column, file)
    for number, record in records:
        if len(record) <= at:
            columns = f"{len(record)} of {len(header[1])} columns"
            raise InvalidInput(f"{file}:{number} has only {columns}, and {reading.column!r} is not among them")
        yield Row(record[at], file, number)


def _csv_records(name: str, file: str, reading: Reading) -> Iterator[tuple[int, list[str]]]:
    """The records, each with the line on which it begins."""
    csv.field_size_limit(LONGEST)
    reader = csv.reader(
        (line for _, line in _lines(name, file, reading.encoding)),
        delimiter="\t" if reading.format_of(name) is Format.tsv else ",",
        quoting=csv.QUOTE_NONE if reading.no_quotes else csv.QUOTE_MINIMAL,
        strict=True,  # a quotation mark that is never closed would silently swallow what follows
    )
    while True:
        number = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            advice = "" if reading.no_quotes else "; if quotation marks are part of the texts, say --no-quotes"
            raise InvalidInput(f"{file}:{number}: {error}{advice}") from None
        if record is None:
            return
        if record:
            yield number, record


def _position(columns: list[str], wanted: str | None, file: str) -> int:
    """Which column has the texts.

    Raises:
        InvalidInput: not exactly one is named so.
    """
    found = [i for i, column in enumerate(columns) if column == wanted]
    if len(found) != 1:
        how = "more than one column" if found else "no column"
        raise InvalidInput(f"{file} has {how} {wanted!r} (--column); it has {_listed(columns)}")
    return found[0]


@contextmanager
def _parquet(name: str) -> Iterator[Any]:
    pyarrow = require("parquet", f"reading {name}")
    try:
        with importlib.import_module("pyarrow.parquet").ParquetFile(name) as file:
            yield file
    except pyarrow.ArrowException as error:
        raise InvalidInput(f"{name} cannot be read as parquet: {error}") from None


def _parquet_rows(name: str, file: str, reading: Reading) -> Iterator[Row]:
    with _parquet(name) as parquet:
        names = parquet.schema_arrow.names
        column = names[_position(names, reading.column, name)]
        number = 1
        for batch in parquet.iter_batches(_RECORDS, columns=[column]):
            for value in batch.column(0).to_pylist():
                yield Row(_text(value, f"{file}:{number}"), file, number)
                number += 1


_READERS: dict[Format, Callable[[str, str, Reading], Iterator[Row]]] = {
    Format.txt: _texts,
    Format.csv: _table,
    Format.tsv: _table,
    Format.jsonl: _objects,
    Format.parquet: _parquet_rows,
}
