"""One order from several."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

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
