"""Triplets found in the batch by class labels: texts of one class near, of others far.

Of n texts with distances D: (a, p) are positives if a != p share a label, (a, n) negatives if their labels differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss
from vicinal.losses.checks import label_a_row
from vicinal.similarity import cos_sim, euclidean_sim

Distances = Callable[[Tensor], Tensor]


class BatchHardTripletLossDistanceFunction:
    """Distances of every row from every row, (n, n)."""

    @staticmethod
    def cosine_distance(embeddings: Tensor) -> Tensor:
        """1 - cosine, from 0 to 2."""
        return 1 - cos_sim(embeddings, embeddings)

    @staticmethod
    def euclidean_distance(embeddings: Tensor, squared: bool = False) -> Tensor:
        """The Euclidean distance, or its square."""
        distances = -euclidean_sim(embeddings, embeddings)
        return distances.square() if squared else distances

    eucledian_distance = euclidean_distance
    """An older spelling."""


_EUCLIDEAN = BatchHardTripletLossDistanceFunction.euclidean_distance


def batch_all_triplet(
    embeddings: Tensor, labels: Tensor, distance_metric: Distances = _EUCLIDEAN, margin: float = 5.0
) -> Tensor:
    """The mean of max(0, D_ap - D_an + margin) over all triplets for which it is positive; 0 without any.

    Args:
        embeddings: (n, d).
        labels: n classes.
        distance_metric: of every row from every row.

    Returns:
        A scalar.

    Raises:
        InvalidData: there is not a label a row.

    Source: Hermans et al. 2017, arXiv:1703.07737.
    """
    distances = distance_metric(embeddings)
    same, positive = _masks(embeddings, labels)
    anchors, positives = positive.nonzero(as_tuple=True)
    losses = (distances[anchors, positives].unsqueeze(1) - distances[anchors] + margin).masked_fill(same[anchors], 0)
    losses = losses.relu()
    return losses.sum() / (losses > 1e-16).sum().clamp(min=1)


def batch_hard_triplet(
    embeddings: Tensor, labels: Tensor, distance_metric: Distances = _EUCLIDEAN, margin: float = 5.0
) -> Tensor:
    """mean_a max(0, max_p D_ap - min_n D_an + margin): the farthest positive, the nearest negative of each anchor.

    Arguments, result, errors and source as `batch_all_triplet`. An anchor without a positive counts as its own; one
    without a negative has one at the distance of the farthest text.
    """
    farthest, nearest = _hardest(embeddings, labels, distance_metric)
    return (farthest - nearest + margin).relu().mean()


def batch_hard_soft_margin_triplet(
    embeddings: Tensor, labels: Tensor, distance_metric: Distances = _EUCLIDEAN
) -> Tensor:
    """mean_a log(1 + exp(max_p D_ap - min_n D_an)): `batch_hard_triplet` with a soft margin, which has no size."""
    farthest, nearest = _hardest(embeddings, labels, distance_metric)
    return F.softplus(farthest - nearest).mean()


def batch_semi_hard_triplet(
    embeddings: Tensor, labels: Tensor, distance_metric: Distances = _EUCLIDEAN, margin: float = 5.0
) -> Tensor:
    """mean_ap max(0, D_ap - D_an + margin), n the nearest negative that is farther than p, or else the farthest.

    Arguments, result and errors as `batch_all_triplet`; 0 without positives.

    Source: Schroff et al. 2015, arXiv:1503.03832.
    """
    distances = distance_metric(embeddings)
    same, positive = _masks(embeddings, labels)
    ordered = distances.masked_fill(same, torch.inf).sort(dim=1, stable=True).values
    places = torch.searchsorted(ordered.detach().contiguous(), distances.detach().contiguous(), right=True)
    outside = ordered.gather(1, places.clamp(max=len(distances) - 1))
    least = distances.amin(1, keepdim=True)  # what an anchor without a negative has instead of one
    inside = torch.where(same, least, distances).amax(1, keepdim=True)
    negatives = torch.where(outside.isfinite(), outside, inside)
    losses = (distances - negatives + margin).relu().masked_fill(~positive, 0)
    return losses.sum() / positive.sum().clamp(min=1)


def _masks(embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows share a label, (n, n); and which of these are two."""
    labels = label_a_row(labels, embeddings, "the class of each text")
    same = labels.unsqueeze(0) == labels.unsqueeze(1)
    return same, same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)


def _hardest(embeddings: Tensor, labels: Tensor, distance_metric: Distances) -> tuple[Tensor, Tensor]:
    """Of each anchor the distance of the farthest positive and of the nearest negative, (n,)."""
    distances = distance_metric(embeddings)
    same, positive = _masks(embeddings, labels)
    farthest = distances.masked_fill(~positive, 0).amax(1)
    beyond = distances.amax(1, keepdim=True)
    return farthest, torch.where(same, distances + beyond, distances).amin(1)


class _BatchTripletLoss(Loss):
    inputs = Inputs(("text",), labels="the class of each text")
    config = "distance_metric margin"
    citation = citations.TRIPLET

    def __init__(self, model: Any, distance_metric: Distances = _EUCLIDEAN, margin: float = 5) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.margin = margin


class BatchAllTripletLoss(_BatchTripletLoss):
    """Every triplet of the batch that violates the margin counts.

    Use: texts with a class each, several texts of a class in each batch (batch sampler "group_by_label").

    Source: Hermans et al. 2017, arXiv:1703.07737

    Args:
        model: what to train.
        distance_metric: of every row from every row; one of `BatchHardTripletLossDistanceFunction`, or another
            function.
        margin: by how much a negative must be farther than a positive.
    """

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings and n classes."""
        return batch_all_triplet(embeddings[0], labels, self.distance_metric, self.margin)


class BatchHardTripletLoss(_BatchTripletLoss):
    """Of each text, the farthest of its class and the nearest of another count.

    Use: as `BatchAllTripletLoss`; harder triplets, faster learning, less patience with wrong labels.

    Source: Hermans et al. 2017, arXiv:1703.07737

    Args:
        model, distance_metric, margin: as there.
    """

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings and n classes."""
        return batch_hard_triplet(embeddings[0], labels, self.distance_metric, self.margin)


class BatchSemiHardTripletLoss(_BatchTripletLoss):
    """Of each pair of a class, the nearest negative that is farther than the positive counts.

    Use: as `BatchAllTripletLoss`; more stable than `BatchHardTripletLoss`.

    Source: Schroff et al. 2015, arXiv:1503.03832

    Args:
        model, distance_metric, margin: as there.
    """

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings and n classes."""
        return batch_semi_hard_triplet(embeddings[0], labels, self.distance_metric, self.margin)


class BatchHardSoftMarginTripletLoss(_BatchTripletLoss):
    """`BatchHardTripletLoss` with a soft margin, whose size need not be chosen.

    Use: as `BatchHardTripletLoss`.

    Source: Hermans et al. 2017, arXiv:1703.07737

    Args:
        model, distance_metric: as there.
    """

    config = "distance_metric"

    def __init__(self, model: Any, distance_metric: Distances = _EUCLIDEAN) -> None:
        super().__init__(model, distance_metric)

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings and n classes."""
        return batch_hard_soft_margin_triplet(embeddings[0], labels, self.distance_metric)
