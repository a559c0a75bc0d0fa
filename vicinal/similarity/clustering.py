"""Community detection: groups of vectors that all lie near one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vicinal.similarity.arrays import Indices, Matrix, Vectors, as_rows, check_positive
from vicinal.similarity.measures import Block, block, cosine_exact, cosine_first
from vicinal.similarity.topk import Exact, score_pairs, tile_rows

_ROUNDING = 1e-12  # a cosine this far below the threshold reaches it: float64 may have rounded it down
_SCORES = 1 << 22  # scores at a time


def community_detection(
    embeddings: Vectors,
    threshold: float = 0.75,
    min_community_size: int = 10,
    batch_size: int = 1024,
    show_progress_bar: bool = False,
) -> list[list[int]]:
    """Groups of vectors whose cosine with the group's centre is at least `threshold`.

    The vectors with most neighbours become centres first (of equals, the lower row); a vector belongs to one group at
    most. Time grows with the square of the vectors, memory beyond the input is some tens of MB.

    Args:
        embeddings: (n, d) array, tensor or list of vectors.
        threshold: the least cosine with the centre.
        min_community_size: the least size of a group, its centre included.
        batch_size: vectors to compare at a time, at most; it does not change the result.
        show_progress_bar: show how far the comparison is.

    Returns:
        Groups of row numbers, largest first. A group begins with its centre; the others follow by falling cosine.

    Raises:
        NonFiniteEmbedding: a vector holds nan or infinity; its row is named.
        ValueError: `min_community_size` or `batch_size` is below 1.
    """
    check_positive(min_community_size=min_community_size, batch_size=batch_size)
    rows = as_rows(embeddings, "embeddings")
    if len(rows) < min_community_size:
        return []
    near = _Nearness(rows, threshold, min(batch_size, tile_rows(rows.shape[1]), int(_SCORES**0.5)))
    counts = near.count(show_progress_bar)
    centres = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts >= min_community_size)]
    used = np.zeros(len(rows), dtype=bool)
    communities = []
    for centre, members in near.members(centres, used, min(batch_size, max(1, _SCORES // len(rows)))):
        members = members[~used[members]]
        if len(members) >= min_community_size:
            community = [centre, *near.sort(centre, members[members != centre]).tolist()]
            used[community] = True
            communities.append(community)
    return sorted(communities, key=len, reverse=True)


class _Nearness:
    """Which rows lie within the threshold of which, asked for block by block."""

    def __init__(self, rows: Matrix, threshold: float, size: int) -> None:
        self.rows, self.threshold, self.size = rows, threshold, size
        self.starts = range(0, len(rows), size)
        self.blocks = [block(rows[start : start + size], "embeddings", start) for start in self.starts]
        self.exact: Exact = score_pairs(rows, rows, cosine_exact)

    def count(self, show_progress_bar: bool) -> Indices:
        """How many rows each row is near, itself included; a pair of blocks serves both."""
        counts = np.zeros(len(self.rows), np.int64)
        for place, start in enumerate(_with_progress(self.starts, show_progress_bar)):
            numbers = np.arange(start, min(start + self.size, len(self.rows)))
            for other in range(place, len(self.blocks)):
                mask = self._near(numbers, self.blocks[place], other)
                counts[numbers] += np.count_nonzero(mask, axis=1)
                if other != place:
                    counts[self.starts[other] :][: mask.shape[1]] += np.count_nonzero(mask, axis=0)
        return counts

    def members(self, centres: Indices, used: NDArray[np.bool_], batch: int) -> Iterator[tuple[int, Indices]]:
        """The rows near each centre that is not used by then, in the order of the centres."""
        while len(centres := centres[~used[centres]]):
            chosen, centres = centres[:batch], centres[batch:]
            ready = block(self.rows[chosen.tolist()], "embeddings")
            found = [np.nonzero(self._near(chosen, ready, other)) for other in range(len(self.blocks))]
            owners = np.concatenate([owner for owner, _ in found])
            numbers = np.concatenate([row + start for (_, row), start in zip(found, self.starts, strict=True)])
            for place, centre in enumerate(chosen.tolist()):
                if not used[centre]:
                    yield centre, numbers[owners == place]

    def sort(self, centre: int, members: Indices) -> Indices:
        """The members by falling cosine with the centre, equals by row."""
        return members[np.lexsort((members, -self.exact(np.full_like(members, centre), members)))]

    def _near(self, numbers: Indices, ready: Block, other: int) -> NDArray[np.bool_]:
        """Whether each of the rows `numbers` is near each row of another block; close calls are made in float64."""
        values, margin = cosine_first(ready, self.blocks[other])
        bar = self.threshold * np.where(ready.norms > 0, ready.norms, 1.0)  # values are cosines times these lengths
        mask = values >= (bar + margin).astype(values.dtype)[:, None]
        close = np.flatnonzero((values >= (bar - margin).astype(values.dtype)[:, None]) ^ mask)
        if len(close):
            i, j = np.divmod(close, values.shape[1])
            mask.ravel()[close] = self.exact(numbers[i], j + self.starts[other]) >= self.threshold - _ROUNDING
        return np.asarray(mask)


def _with_progress(starts: Iterable[int], show: bool) -> Iterable[int]:
    if not show:
        return starts
    from tqdm import tqdm

    shown: Iterable[int] = tqdm(starts, desc="Finding communities")
    return shown
