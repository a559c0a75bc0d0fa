"""What a call tells about its texts: lengths, rows, progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NAMED = 5
"""Rows that a message names before it only counts."""


def bar(total: int) -> Any:
    """A progress bar over texts."""
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="text", desc="Encoding", file=sys.stderr)


def too_long(
    start: int, full: NDArray[np.int64], limit: int, places: NDArray[np.int64] | None
) -> list[tuple[int, int]]:
    """(row, tokens) of the texts of a window that exceed the limit; `places` gives rows of the caller's own."""
    rows = np.flatnonzero(full > limit)
    named = rows + start if places is None else places[rows + start]
    return list(zip(named.tolist(), full[rows].tolist(), strict=True))


def cut(found: Sequence[tuple[int, int]], total: int, limit: int | None) -> str:
    """Which texts exceed the limit, and what to do.

    >>> cut([(3, 300), (8, 900)], 10, 256)
    "2 of 10 texts are longer than this model's 256 tokens and lose their ends: row 3 (300), row 8 (900). ..."
    """
    ordered = sorted(found)
    rows = ", ".join(f"row {row} ({length})" for row, length in ordered[:_NAMED])
    more = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    one = len(ordered) == 1
    return (
        f"{len(ordered)} of {total} text{'' if total == 1 else 's'} {'is' if one else 'are'} longer than this model's "
        f"{limit} tokens and {'loses its end' if one else 'lose their ends'}: {rows}{more}. "
        'Split them, or say truncation="ignore" (or "error").'
    )


def broken(rows: NDArray[np.int64], name: str) -> str:
    """Which vectors are not finite."""
    listed = ", ".join(map(str, sorted(rows.tolist())[:_NAMED]))
    return (
        f"{name} gives vectors with nan or infinity for row {listed}: its weights are damaged, or "
        'the computation overflows; dtype="float32" tells which'
    )


def zero(rows: Sequence[int]) -> str:
    """Which vectors are zero."""
    listed = ", ".join(map(str, rows[:_NAMED])) + (f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else "")
    return f"the vector of row {listed} is all zero (a text without a known token?): its cosine with any other is 0"
