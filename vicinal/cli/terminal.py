"""What people see: lines on stderr, warnings, progress, and whether there is a terminal to see them on."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import typer

from vicinal.errors import VicinalError, VicinalWarning

_SHOWN = 3
"""Warnings of a kind before the rest is only announced: a long file can have one for every portion."""
_ROWS = re.compile(r"\brow (\d+(?:, \d+)*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


def say(message: str) -> None:
    """A line for people, on stderr."""
    typer.echo(message, err=True)


def fail(message: str) -> None:
    """Why the command fails."""
    say(f"{_coloured('error:', 'red')} {message}")


def warn(message: str) -> None:
    """What is not as it should be, where the command goes on."""
    say(f"{_coloured('warning:', 'yellow')} {message}")


def _coloured(text: str, colour: str) -> str:
    plain = not sys.stderr.isatty() or bool(os.environ.get("NO_COLOR"))
    return text if plain else typer.style(text, fg=colour, bold=True)


def one_line(text: str) -> str:
    """The text without line breaks, tabs and codes that a terminal would obey."""
    return _CONTROL.sub(" ", text).strip()


class Warnings:
    """Takes the place of `warnings.showwarning`: vicinal's own become a line each, a few of each kind.

    Args:
        other: what shows all other warnings.
    """

    def __init__(self, other: Callable[..., None]) -> None:
        self._other = other
        self._seen: Counter[type[Warning]] = Counter()

    def __call__(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: IO[str] | None = None,
        line: str | None = None,
    ) -> None:
        """Show one."""
        if not issubclass(category, VicinalWarning):
            self._other(message, category, filename, lineno, file, line)
            return
        self._seen[category] += 1
        label = _coloured("warning:", "yellow")
        if self._seen[category] <= _SHOWN:
            say(f"{label} {message}")
        elif self._seen[category] == _SHOWN + 1:
            say(f"{label} there is more of this kind ({category.__name__}), which is not shown")


@contextmanager
def naming(places: Sequence[object]) -> Iterator[None]:
    """Inside, errors and warnings that say "row 3" name the place of that row: its file and line.

    Args:
        places: of the rows of the one call that is made inside.
    """
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always", VicinalWarning)
            yield
    except VicinalError as error:
        raise type(error)(_placed(str(error), places)) from error
    finally:
        for warning in found:
            message = _placed(str(warning.message), places)
            warnings.warn_explicit(message, warning.category, warning.filename, warning.lineno)


def _placed(message: str, places: Sequence[object]) -> str:
    """The message in the words of the command line."""

    def named(rows: re.Match[str]) -> str:
        return ", ".join(str(places[int(row)]) for row in rows[1].split(", "))

    return _ROWS.sub(named, message).replace('truncation="ignore"', "--truncation ignore")


@contextmanager
def progress(total: Callable[[], int | None], unit: str = "texts") -> Iterator[Callable[[int], None]]:
    """A bar over texts where stderr is a terminal.

    Args:
        total: how many texts there are, None if that cannot be known; asked only for a bar.
        unit: what is counted.

    Yields:
        A function to be told how many texts more are done.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(unit, total=total())
        yield lambda done: bar.advance(task, done)
