"""Which texts go through the network together: filled by tokens, not by rows, so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.base import Arrays, Bounds
from vicinal.text.tokens import Tokens


def plan(
    lengths: NDArray[np.int64], max_tokens: int, max_rows: int | None, limit: int | None
) -> list[tuple[NDArray[np.int64], int]]:
    """Rows in batches of like length, longest first; the padded tokens of a batch stay within the budget.

    A runtime keeps a plan for each shape that it meets, so there are not many: widths are rounded up in steps that grow
    with the length, and above 16 a batch has a round number of rows, the rest of them being the next one's.

    Args:
        lengths: (n,) tokens of each text.
        max_tokens: the budget; a text that exceeds it alone has a batch of its own.
        max_rows: of a batch, None for no bound.
        limit: the model's, which padding does not pass.

    Returns:
        Row numbers and padded width of each batch; every row is in one batch.

    >>> [(rows.tolist(), width) for rows, width in plan(np.array([3, 9, 2, 8]), 20, None, None)]
    [([1, 3], 10), ([0, 2], 4)]
    """
    step = np.where(lengths <= 64, 2, np.where(lengths <= 128, 4, 8))
    widths = np.maximum(-(-lengths // step) * step, 1)
    if limit is not None:
        widths = np.minimum(widths, max(limit, int(lengths.max(initial=1))))
    order = np.argsort(-lengths, kind="stable")
    if max_rows is not None and max_rows < 1:
        raise ValueError(f"max_rows must be at least 1, not {max_rows}")
    batches, first = [], 0
    while first < len(order):
        width = int(widths[order[first]])
        rows = min(max(1, max_tokens // width), len(order) - first)
        last = first + rounded(rows if max_rows is None else min(rows, max_rows))
        batches.append((order[first:last], width))
        first = last
    return batches


def rounded(rows: int) -> int:
    """The number of rows, above 16 with its three leading bits alone: at most a fifth less.

    >>> [rounded(rows) for rows in (1, 16, 17, 31, 170)]
    [1, 16, 16, 28, 160]
    """
    step = 1 << max(0, rows.bit_length() - 3)
    return rows if rows <= 16 else rows // step * step


def padded(tokens: Tokens, bounds: Bounds, needs: frozenset[str]) -> Iterator[tuple[NDArray[np.int64], Arrays]]:
    """Batches for a network that reads rows of equal length, padded on the right.

    Args:
        needs: the inputs that the network reads, see `backends.base.INPUTS`.

    Yields:
        Rows of the window, and the network's inputs for them.
    """
    for rows, width in plan(tokens.lengths, bounds.tokens, bounds.rows, bounds.limit):
        starts, lengths = tokens.starts[rows], tokens.lengths[rows]
        index = np.arange(width, dtype=np.int32)
        mask = index < lengths[:, None]
        where = (starts[:, None] + index)[mask]
        ids = np.zeros(mask.shape, np.int32)
        ids[mask] = tokens.ids[where]
        feeds: Arrays = {"ids": ids, "mask": mask, "index": index}
        if "types" in needs:
            feeds["types"] = np.zeros(mask.shape, np.int32)
            if tokens.types is not None:
                feeds["types"][mask] = tokens.types[where]
        if "positions" in needs:
            counted = mask if tokens.uncounted is None else mask & (ids != tokens.uncounted)
            feeds["positions"] = np.where(counted, np.cumsum(counted, 1), 0).astype(np.int32)
        feeds["pool"] = mask & (index >= bounds.prompt) if bounds.prompt else mask
        if "first" in needs:
            feeds["first"] = np.where(lengths > bounds.prompt, bounds.prompt, 0).astype(np.int32)
        if "last" in needs:
            feeds["last"] = np.maximum(lengths - 1, 0).astype(np.int32)
        yield rows, feeds
