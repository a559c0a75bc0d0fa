"""Texts with their places, and how the command line says where they are and how to read them."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from vicinal.errors import InvalidInput

STDIN = "-"
_PORTION_ROWS, _PORTION_CHARACTERS = 1024, 1 << 22
_FOLDER_SUFFIXES = (".txt", ".md", ".rst")


class Format(str, Enum):
    """How a file holds its texts."""

    txt = "txt"
    csv = "csv"
    tsv = "tsv"
    jsonl = "jsonl"
    parquet = "parquet"


_SUFFIXES = {
    ".csv": Format.csv, ".tsv": Format.tsv, ".jsonl": Format.jsonl, ".ndjson": Format.jsonl, ".parquet": Format.parquet,
}  # fmt: skip

FormatOption = Annotated[
    Format | None,
    typer.Option(
        "--format", metavar="txt|csv|tsv|jsonl|parquet", show_default=False,
        help="Of the input. Without it the suffix tells; standard input and unknown suffixes are text, one a line.",
    ),
]  # fmt: skip
Column = Annotated[
    str | None,
    typer.Option("--column", metavar="NAME", show_default=False, help="Column of csv, tsv or parquet with the texts."),
]
Field = Annotated[str, typer.Option("--field", metavar="NAME", help="Field of jsonl objects with the texts.")]
Encoding = Annotated[
    str, typer.Option("--encoding", metavar="NAME", help="Of text, csv, tsv and jsonl, by Python's name.")
]
NoQuotes = Annotated[
    bool, typer.Option("--no-quotes", help="Quotation marks in csv and tsv are part of the texts.", show_default=False)
]


class Row(NamedTuple):
    """A text and where it stands; lines count from 1, and in a parquet file they are rows."""

    text: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """As grep and compilers write it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Reading:
    """How inputs are read, as the command line asks for it."""

    format: Format | None = None
    column: str | None = None
    field: str = "text"
    encoding: str = "utf-8"
    no_quotes: bool = False

    def format_of(self, name: str) -> Format:
        """The format of one input: as asked for, else by its suffix."""
        return self.format or _SUFFIXES.get(Path(name).suffix.lower(), Format.txt)

    def check(self, inputs: Sequence[str]) -> None:
        """Find out before any work whether the inputs are there and can be read as they are asked to be.

        Raises:
            BadParameter: the options do not go together. OSError: an input is not there, or is a folder.
        """
        try:
            io.TextIOWrapper(io.BytesIO(), self.encoding)
        except LookupError as error:
            raise typer.BadParameter(str(error), param_hint="--encoding") from None
        if list(inputs).count(STDIN) > 1:
            raise typer.BadParameter("standard input (-) can be read only once", param_hint="input")
        for name in inputs:
            if name != STDIN:
                _check_file(name)
            self._check_format(name)

    def _check_format(self, name: str) -> None:
        if self.format is None and name.lower().endswith(".json"):
            advice = "is JSON: write one object a line and name it .jsonl, or say --format txt"
            raise typer.BadParameter(f"{name} {advice}", param_hint="input")
        found = self.format_of(name)
        if found is Format.parquet and name == STDIN:
            raise typer.BadParameter("parquet is not read from standard input: give a file", param_hint="--format")
        if self.column is None and found in (Format.csv, Format.tsv, Format.parquet):
            raise typer.BadParameter(f"{name} is {found.value}: say which column has the texts", param_hint="--column")


def _check_file(name: str) -> None:
    """Raise what opening it would, without opening it: a pipe could be read only once."""
    if stat.S_ISDIR(os.stat(name).st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not os.access(name, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)


def portions(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows in lists that are small enough to hold and large enough to compute at full speed."""
    portion: list[Row] = []
    characters = 0
    for row in rows:
        portion.append(row)
        characters += len(row.text)
        if len(portion) == _PORTION_ROWS or characters >= _PORTION_CHARACTERS:
            yield portion
            portion, characters = [], 0
    if portion:
        yield portion


def files(inputs: Sequence[str]) -> list[str]:
    """The inputs, with the text files below it in the place of every folder; hidden ones are left out.

    Raises:
        InvalidInput: a folder has none.
    """
    found: list[str] = []
    for name in inputs:
        if name == STDIN or not os.path.isdir(name):
            found.append(name)
            continue
        below = sorted(_below(name))
        if not below:
            raise InvalidInput(f"{name} has no {', '.join(_FOLDER_SUFFIXES)} file: name the files themselves")
        found += below
    return found


def _below(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.lower().endswith(_FOLDER_SUFFIXES) and not name.startswith("."):
                yield os.path.join(parent, name)


def _raise(error: OSError) -> None:
    raise error
