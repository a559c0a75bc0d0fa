"""Which of a query's candidates may be its negatives, and which of those are taken: arrays in, arrays out."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vicinal.similarity.arrays import Doubles, Indices

Strategy = Literal["random", "top"]
STRATEGIES = ("random", "top")


@dataclass(frozen=True)
class Limits:
    """What a negative must be, as `mine_hard_negatives` has it; `range_max` is settled.

    Raises:
        ValueError: a number that leaves nothing to choose from; it says which.
    """

    range_min: int
    range_max: int
    max_score: float | None
    min_score: float | None
    absolute_margin: float | None
    relative_margin: float | None
    num_negatives: int
    sampling_strategy: Strategy

    def __post_init__(self) -> None:
        if self.sampling_strategy not in STRATEGIES:
            raise ValueError(
                f"sampling_strategy must be one of {', '.join(map(repr, STRATEGIES))}, not {self.sampling_strategy!r}"
            )
        for name, number, least in (("num_negatives", self.num_negatives, 1), ("range_min", self.range_min, 0)):
            if type(number) is not int or number < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {number!r}")
        if self.range_max - self.range_min < self.num_negatives:
            raise ValueError(
                f"range_min={self.range_min} and range_max={self.range_max} leave {self.range_max - self.range_min} "
                f"candidates a query, too few for num_negatives={self.num_negatives}"
            )

    @property
    def thresholds(self) -> dict[str, float]:
        """Those that are set."""
        names = ("absolute_margin", "relative_margin", "max_score", "min_score")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclass(frozen=True)
class Candidates:
    """What a search found.

    Attributes:
        ids: documents, (q, k), best first; -1 where there is none.
        scores: (q, k); -inf where there is none.
        positive_scores: of each pair, (p,).
    """

    ids: Indices
    scores: Doubles
    positive_scores: Doubles


@dataclass(frozen=True)
class Chosen:
    """The negatives of each query.

    Attributes:
        ids, scores: (q, num_negatives), best first; a score of -inf marks one that was not found.
        skipped: by threshold, how many candidates it removed, and of how many.
    """

    ids: Indices
    scores: Doubles
    skipped: dict[str, tuple[int, int]] = field(default_factory=dict)


def choose(found: Candidates, owner: Indices, positive: Indices, limits: Limits, include_positives: bool) -> Chosen:
    """Leave out positives and what is beyond a threshold, then take each query's negatives.

    Args:
        owner, positive: query and document of each pair, (p,), by query; every query has one or more.
        include_positives: keep positives among the candidates.
    """
    scores = found.scores.copy()
    if not include_positives:
        scores[_known(found.ids, owner, positive)] = -np.inf
    hardest = np.full(len(scores), np.inf)  # each query's positive that is least like it: the safest to measure by
    np.minimum.at(hardest, owner, found.positive_scores)
    skipped = {}
    for name, value in limits.thresholds.items():
        there = np.isfinite(scores)
        out = _BEYOND[name](scores, hardest[:, None], value) & there
        skipped[name] = int(out.sum()), int(there.sum())
        scores[out] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, : limits.range_max]
    ids, scores = np.take_along_axis(found.ids, order, 1), np.take_along_axis(scores, order, 1)
    missing = max(0, limits.range_min + limits.num_negatives - scores.shape[1])
    ids = np.pad(ids, ((0, 0), (0, missing)), constant_values=-1)[:, limits.range_min :]
    scores = np.pad(scores, ((0, 0), (0, missing)), constant_values=-np.inf)[:, limits.range_min :]
    if limits.sampling_strategy == "random":
        options = np.maximum(np.isfinite(scores).sum(1), limits.num_negatives)
        drawn = np.array([sorted(random.sample(range(n), limits.num_negatives)) for n in options.tolist()])
        ids, scores = np.take_along_axis(ids, drawn, 1), np.take_along_axis(scores, drawn, 1)
    return Chosen(ids[:, : limits.num_negatives], scores[:, : limits.num_negatives], skipped)


_BEYOND: dict[str, Callable[[Doubles, Doubles, float], NDArray[np.bool_]]] = {
    "absolute_margin": lambda scores, positive, margin: scores + margin > positive,
    "relative_margin": lambda scores, positive, margin: scores > positive - np.abs(positive) * margin,
    "max_score": lambda scores, _, most: scores > most,
    "min_score": lambda scores, _, least: scores < least,
}
"""By threshold: which scores (q, k) it forbids, given each query's lowest positive score (q, 1)."""


def _known(ids: Indices, owner: Indices, positive: Indices) -> NDArray[np.bool_]:
    """Which candidates are positives of their query, (q, k)."""
    span = max(int(ids.max(initial=0)), int(positive.max(initial=0))) + 2
    rows = np.arange(len(ids))[:, None]
    return np.isin(rows * span + ids, owner * span + positive) & (ids >= 0)
