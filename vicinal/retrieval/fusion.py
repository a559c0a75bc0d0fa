"""One order from several."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Id = TypeVar("Id", bound=Hashable)


def reciprocal_rank_fusion(orders: Sequence[Sequence[Id]], k: float = 60) -> list[tuple[Id, float]]:
    """Fuse orders by rank: score(d) = sum over the orders that have d of 1 / (k + rank of d), ranks from 1.

    Args:
        orders: ids, best first, each once in an order.
        k: how slowly the weight falls with the rank; positive.

    Returns:
        (id, score), best first; of equal scores the one that came first, in the earliest order.

    Raises:
        ValueError: an order has an id twice, or k is not positive.

    Source: Cormack, Clarke and Buettcher 2009, https://doi.org/10.1145/1571941.1572114

    >>> reciprocal_rank_fusion([["a", "b"], ["b", "c"]], k=1)
    [('b', 0.8333333333333333), ('a', 0.5), ('c', 0.3333333333333333)]
    """
    if not k > 0:
        raise ValueError(f"k must be positive, not {k!r}")
    scores: dict[Id, float] = {}
    for number, order in enumerate(orders):
        if len(set(order)) < len(order):
            raise ValueError(f"order {number} has an id more than once")
        for rank, item in enumerate(order, 1):
            scores[item] = scores.get(item, 0.0) + 1 / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])


def weighted(first: Sequence[float], second: Sequence[float], weight: float) -> NDArray[np.float64]:
    """Two scores of the same documents as one: (1 - weight) * z(first) + weight * z(second).

    z is what is left when the mean over these documents is taken off and the rest divided by its standard deviation,
    so that scores on different scales can be added; it is 0 where all are equal.

    Args:
        first, second: of the same documents, in the same order, (n,).
        weight: of the second, between 0 and 1.

    Returns:
        (n,) float64.

    Raises:
        ValueError: weight is no such number, or the lengths differ.

    Source: the weighted sum of standard scores in Fox and Shaw 1994, "Combination of Multiple Searches", and Wu 2012,
    https://doi.org/10.1007/978-3-642-28866-1

    >>> weighted([3, 2, 1], [0.1, 0.2, 0.9], 0.5).round(2).tolist()
    [0.19, -0.28, 0.09]
    """
    checked_weight(weight)
    if len(first) != len(second):
        raise ValueError(f"{len(first)} scores of one kind and {len(second)} of the other cannot be added")
    return (1 - weight) * _standard(first) + weight * _standard(second)


def checked_weight(weight: float) -> float:
    """The weight, if it lies between 0 and 1.

    Raises:
        ValueError: it does not.
    """
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 1:
        raise ValueError(f"weight must be a number between 0 (the first stage alone) and 1, not {weight!r}")
    return float(weight)


def _standard(scores: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(scores, np.float64)
    if not len(values):
        return values
    apart = values - values.mean()
    spread = float(np.sqrt(np.mean(apart * apart)))
    # What differs by rounding alone does not differ.
    return apart / spread if spread > 1e-12 * float(np.abs(values).max()) else np.zeros_like(values)
