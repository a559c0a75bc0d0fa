"""Triplets: an anchor must be nearer to its positive than to its negative by a margin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss
from vicinal.losses.checks import same_shape
from vicinal.similarity import pairwise_cos_sim, pairwise_euclidean_sim, pairwise_manhattan_sim

Distance = Callable[[Tensor, Tensor], Tensor]


class TripletDistanceMetric:
    """Distances of row i from row i, (n,)."""

    @staticmethod
    def COSINE(x: Tensor, y: Tensor) -> Tensor:
        """1 - cosine, from 0 to 2."""
        return 1 - pairwise_cos_sim(x, y)

    @staticmethod
    def EUCLIDEAN(x: Tensor, y: Tensor) -> Tensor:
        """The Euclidean distance."""
        return -pairwise_euclidean_sim(x, y)

    @staticmethod
    def MANHATTAN(x: Tensor, y: Tensor) -> Tensor:
        """The Manhattan distance."""
        return -pairwise_manhattan_sim(x, y)


def triplet(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    distance_metric: Distance = TripletDistanceMetric.EUCLIDEAN,
    margin: float = 5.0,
) -> Tensor:
    """mean_i max(0, D(a_i, p_i) - D(a_i, n_i) + margin).

    Args:
        anchors, positives, negatives: (n, d).
        distance_metric: D, of row i from row i.

    Returns:
        A scalar.

    Raises:
        InvalidData: the shapes differ; all are named.

    Source: Schroff et al. 2015, arXiv:1503.03832.

    Example:
        >>> import torch
        >>> a, p, n = (torch.tensor([[x]]) for x in (0.0, 1.0, 3.0))
        >>> triplet(a, p, n)  # 1 - 3 + 5
        tensor(3.)
    """
    same_shape(anchors=anchors, positives=positives, negatives=negatives)
    return (distance_metric(anchors, positives) - distance_metric(anchors, negatives) + margin).relu().mean()


class TripletLoss(Loss):
    """An anchor must be nearer to its positive than to its negative by a margin.

    Use: (anchor, positive, negative) triplets, where other rows' texts must not count as negatives; else
        `MultipleNegativesRankingLoss` is usually better.

    Source: Schroff et al. 2015, arXiv:1503.03832

    Args:
        model: what to train.
        distance_metric: of row i from row i; one of `TripletDistanceMetric`, or another function.
        triplet_margin: by how much the negative must be farther.
    """

    inputs = Inputs(("anchor", "positive", "negative"))
    config = "distance_metric triplet_margin"
    citation = citations.TRIPLET

    def __init__(
        self, model: Any, distance_metric: Distance = TripletDistanceMetric.EUCLIDEAN, triplet_margin: float = 5
    ) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.triplet_margin = triplet_margin

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of anchors, positives and negatives; labels are ignored."""
        anchors, positives, negatives = embeddings
        return triplet(anchors, positives, negatives, self.distance_metric, self.triplet_margin)
