"""Pairs of texts to token ids: what stands around and between them, and which loses what when they are too long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PairTemplate:
    """The special tokens, each (id, segment), before, between and after the texts, and the texts' own segments."""

    before: tuple[tuple[int, int], ...]
    between: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    type_a: int
    type_b: int

    @classmethod
    def of(cls, ids: list[int], types: list[int], parts: list[int | None]) -> PairTemplate:
        """Read off a tokenized pair: `parts` tells which text each token is of, None for special ones."""
        a = [i for i, part in enumerate(parts) if part == 0]
        b = [i for i, part in enumerate(parts) if part == 1]
        tokens = list(zip(ids, types, strict=True))
        return cls(
            tuple(tokens[: a[0]]), tuple(tokens[a[-1] + 1 : b[0]]), tuple(tokens[b[-1] + 1 :]), types[a[0]], types[b[0]]
        )

    @property
    def types(self) -> int:
        """Segments that are told apart."""
        marked = (*self.before, *self.between, *self.after, (0, self.type_a), (0, self.type_b))
        return 1 + max(kind for _, kind in marked)

    @property
    def special(self) -> int:
        """Tokens that belong to neither text."""
        return len(self.before) + len(self.between) + len(self.after)

    def join(
        self, ids: NDArray[np.int32], a: Spans, b: Spans
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """Ids and segments of pairs, one after the other, and how many tokens each pair has.

        Args:
            ids: of all texts.
            a, b: where in them the texts of each pair stand.
        """
        lengths = a.counts + b.counts + self.special
        at = np.cumsum(lengths) - lengths  # where each pair, then each piece of it, begins
        joined, types = np.empty((2, int(lengths.sum())), np.int32)
        pieces = ((self.before, a, self.type_a), (self.between, b, self.type_b), (self.after, None, 0))
        for frame, text, kind in pieces:
            for token, segment in frame:
                joined[at], types[at] = token, segment
                at = at + 1
            if text is not None:
                where = ranges(at, text.counts)
                joined[where], types[where] = ids[ranges(text.starts, text.counts)], kind
                at = at + text.counts
        return joined, types, lengths


@dataclass(frozen=True, eq=False)
class Spans:
    """Runs of tokens: (n,) where each starts, (n,) how many it has."""

    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    def kept(self, counts: NDArray[np.int64], keep_end: bool) -> Spans:
        """The first `counts` tokens of each, or the last."""
        return Spans(self.starts + (self.counts - counts) if keep_end else self.starts, counts)


def longest_first(a: NDArray[np.int64], b: NDArray[np.int64], room: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths of pairs whose texts must fit into `room` together: the longer one loses tokens until they are even.

    >>> longest_first(np.array([10, 10, 3]), np.array([4, 9, 4]), 12)
    (array([8, 6, 3]), array([4, 6, 4]))
    """
    short, long = np.minimum(a, b), np.maximum(a, b)
    half = room // 2
    short, long = np.where(short > half, half, short), np.where(short > half, room - half, room - short)
    fits = a + b <= room
    first = a <= b
    return np.where(fits, a, np.where(first, short, long)), np.where(fits, b, np.where(first, long, short))


def second_first(a: NDArray[np.int64], b: NDArray[np.int64], room: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The same, but only the second text loses tokens; the first only where it alone does not fit.

    >>> second_first(np.array([10, 20]), np.array([4, 9]), 12)
    (array([10, 12]), array([2, 0]))
    """
    kept = np.minimum(a, room)
    return kept, np.minimum(b, room - kept)


def ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """starts[0], starts[0] + 1, ... counts[0] of them, then those of starts[1], ...

    >>> ranges(np.array([5, 20]), np.array([3, 2])).tolist()
    [5, 6, 7, 20, 21]
    """
    ends = np.cumsum(counts)
    return np.repeat(starts - ends + counts, counts) + np.arange(counts.sum())
