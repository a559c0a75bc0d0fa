"""Text files to read line by line or as tables; each record with its place, for messages."""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO

from vicinal.errors import InvalidData


@contextmanager
def open_text(path: str | os.PathLike[str]) -> Iterator[IO[str]]:
    """A UTF-8 file to read, gzip if its name ends in .gz. Lines end at \\n alone.

    Raises:
        InvalidData: (inside) it is not UTF-8, or no gzip file. OSError: it cannot be read.
    """
    name = os.fspath(path)
    opener = gzip.open if name.endswith(".gz") else open
    with opener(name, "rt", encoding="utf-8-sig", newline="\n") as file:
        try:
            yield file
        except UnicodeDecodeError as error:
            raise InvalidData(f"{name} is not UTF-8 ({error.reason} at byte {error.start}): convert it") from None
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InvalidData(f"{name} is damaged, or no gzip file: {error}") from None


def lines(path: str | os.PathLike[str]) -> Iterator[tuple[str, str]]:
    """The lines of a file without their ends, each with its place, "file:line"."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            yield f"{os.fspath(path)}:{number}", line.rstrip("\r\n")


def parallel_lines(paths: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The lines of several files side by side, without their ends.

    Raises:
        InvalidData: a file ends before the others do.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_text(path)) for path in paths]
        number = 0
        while True:
            row = [file.readline() for file in files]
            ended = [path for path, line in zip(paths, row, strict=True) if not line]
            if ended:
                if len(ended) < len(paths):
                    raise InvalidData(
                        f"{ended[0]} has only {number} lines, other files have more: lines belong together"
                    )
                return
            number += 1
            yield tuple(line.rstrip("\r\n") for line in row)


def records(path: str | os.PathLike[str], delimiter: str, quoting: int) -> Iterator[tuple[str, list[str]]]:
    """The records of a csv or tsv file, each with its place; empty lines are none.

    Args:
        quoting: of the module csv: QUOTE_MINIMAL, or QUOTE_NONE where quotation marks are part of the texts.

    Raises:
        InvalidData: a quotation mark is never closed.
    """
    with open_text(path) as file:
        reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)  # type: ignore[arg-type]
        while True:
            place = f"{os.fspath(path)}:{reader.line_num + 1}"
            try:
                record = next(reader, None)
            except csv.Error as error:
                advice = "" if quoting == csv.QUOTE_NONE else "; are quotation marks part of the texts?"
                raise InvalidData(f"{place}: {error}{advice}") from None
            if record is None:
                return
            if record:
                yield place, record


def columns(record: Sequence[str], wanted: Sequence[int], place: str) -> list[str]:
    """Some columns of a record.

    Raises:
        InvalidData: it has not so many; its place is named.
    """
    if max(wanted) >= len(record):
        raise InvalidData(f"{place} has {len(record)} columns, but column {max(wanted)} (from 0) is needed")
    return [record[i] for i in wanted]
