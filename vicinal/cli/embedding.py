"""Vectors of rows, a portion at a time, so that memory does not grow with the input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from vicinal.cli import terminal
from vicinal.cli.rows import Row, portions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def embed(
    rows: Iterable[Row], total: Callable[[], int | None], encode: Callable[..., Any], **options: Any
) -> Iterator[tuple[list[Row], NDArray[np.float32]]]:
    """Vectors of rows, in order; messages name the rows' places, and a terminal sees progress.

    Args:
        rows: what is encoded.
        total: how many there are, for the progress.
        encode: a model's `encode`, `encode_query` or `encode_document`.
        options: of it.

    Yields:
        Some rows, and their (n, dims) vectors.
    """
    with terminal.progress(total) as done:
        for portion in portions(rows):
            with terminal.naming([row.place for row in portion]):
                vectors = encode([row.text for row in portion], show_progress_bar=False, **options)
            yield portion, vectors
            done(len(portion))
