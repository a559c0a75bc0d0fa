"""Facts in rows and columns."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import typer

from vicinal.cli import terminal


def shown(value: Any) -> str:
    """A cell; nothing where nothing is known."""
    return "" if value is None else str(value)


def size(count: int) -> str:
    """Bytes in the unit that suits them.

    >>> size(90_900_000), size(1_341_000_000)
    ('91 MB', '1.3 GB')
    """
    if count >= 999_500_000:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.0f} MB" if count >= 9_950_000 else f"{count / 1e6:.1f} MB"


def without_torch(support: Any) -> str:
    """Whether and how a model runs, in a cell."""
    answer = {True: "yes", False: "no", None: "not known"}[support.runs]
    return f"{answer}: {terminal.one_line(support.how)}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: aligned under their heads on a terminal, else with tabs between cells."""
    lines = [list(heads), *map(list, rows)]
    if sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    for line in lines:
        typer.echo(("  " if sys.stdout.isatty() else "\t").join(line).rstrip())
