"""What a call tells about its texts: lengths, rows, progress."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidInput, TextTooLong

if TYPE_CHECKING:
    from vicinal.engine import Window
    from vicinal.text.tokens import Text

TALKATIVE = (logging.INFO, logging.DEBUG)
"""Levels of the logger at which progress is shown without being asked for."""
_NAMED = 5
"""Rows that a message names before it only counts."""


def shown(progress: bool | None) -> bool:
    """Whether a progress bar is: None is where the logger "vicinal" is at INFO or DEBUG."""
    if progress is None:
        return logging.getLogger("vicinal").getEffectiveLevel() in TALKATIVE
    return progress


def bar(total: int | None, what: str = "Encoding") -> Any:
    """A progress bar over texts; None where it is not known how many there are."""
    from tqdm.auto import tqdm

    return tqdm(total=total, unit="text", desc=what, file=sys.stderr)


def warn(message: str, category: type[Warning]) -> None:
    """Warn, and point at the line outside vicinal that led here."""
    inside = os.path.dirname(__file__) + os.sep
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def too_long(
    window: Window, limit: int, truncation: str, places: NDArray[np.int64] | None = None, before: int = 0
) -> list[tuple[int, int]]:
    """(row, tokens) of the texts of a window that exceed the limit.

    Args:
        truncation: "error" raises.
        places: the caller's rows, where those of the window are others.
        before: rows that came earlier.

    Raises:
        TextTooLong: there are some, and `truncation` is "error".
    """
    rows = np.flatnonzero(window.tokens.full > limit)
    named = (window.rows[rows] if places is None else places[window.rows[rows]]) + before
    found = list(zip(named.tolist(), window.tokens.full[rows].tolist(), strict=True))
    if found and truncation == "error":
        raise TextTooLong(cut(found, limit))
    return found


def half_character(text: str, texts: Sequence[Text], before: int = 0) -> InvalidInput:
    """The error for a text that holds half of a surrogate pair, with its row.

    Args:
        text: one of the texts, or the part of one that could not be tokenized.
    """
    parts = ((i, part) for i, t in enumerate(texts) for part in ((t,) if isinstance(t, str) else t))
    row, text = next((before + i, part) for i, part in parts if text in part)
    at = next(i for i, letter in enumerate(text) if "\ud800" <= letter <= "\udfff")
    near = text[max(0, at - 20) : at + 20]
    return InvalidInput(
        f"row {row} holds half of a surrogate pair (U+{ord(text[at]):04X} at {at}: {near!r}), "
        "which is no character: read it with the right encoding, or text.encode('utf-8', 'replace').decode()"
    )


WHOLE = 'encode_document(..., long="chunk-mean") reads whole texts'


def cut(found: Sequence[tuple[int, int]], limit: int | None, advice: str = "Split them") -> str:
    """Which texts exceed the limit, and what to do.

    >>> print(cut([(3, 300), (8, 900)], 256))
    2 texts are longer than this model's 256 tokens and are cut: row 3 (300 tokens), row 8 (900). Split them, or ...
    """
    first, *others = sorted(found)
    rows = "".join(f", row {row} ({length})" for row, length in others[: _NAMED - 1])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    which = "1 text is" if len(found) == 1 else f"{len(found)} texts are"
    verb = "is cut" if len(found) == 1 else "are cut"
    return (
        f"{which} longer than this model's {limit} tokens and {verb}: row {first[0]} ({first[1]} tokens){rows}{more}. "
        f'{advice}, or say truncation="ignore".'
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
