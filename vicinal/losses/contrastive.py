"""Pairs that are labelled as belonging together or not: near, or apart by a margin."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vicinal.errors import TrainingWarning
from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss
from vicinal.losses.checks import label_a_row, same_shape
from vicinal.similarity import pairwise_cos_sim

Distance = Callable[[Tensor, Tensor], Tensor]
_LABELS = "1 for a pair that belongs together, 0 for one that does not"


class SiameseDistanceMetric:
    """Distances of row i from row i, (n,)."""

    @staticmethod
    def EUCLIDEAN(x: Tensor, y: Tensor) -> Tensor:
        """The Euclidean distance, 1e-6 added to each difference."""
        return F.pairwise_distance(x, y, p=2)

    @staticmethod
    def MANHATTAN(x: Tensor, y: Tensor) -> Tensor:
        """The Manhattan distance, 1e-6 added to each difference."""
        return F.pairwise_distance(x, y, p=1)

    @staticmethod
    def COSINE_DISTANCE(x: Tensor, y: Tensor) -> Tensor:
        """1 - cosine, from 0 to 2."""
        return 1 - pairwise_cos_sim(x, y)


def contrastive(
    a: Tensor,
    b: Tensor,
    labels: Tensor,
    distance_metric: Distance = SiameseDistanceMetric.COSINE_DISTANCE,
    margin: float = 0.5,
) -> Tensor:
    """With D = distance(a_i, b_i) and label y_i: [y_i D^2 + (1 - y_i) max(0, margin - D)^2] / 2, (n,).

    Args:
        a, b: (n, d).
        labels: n numbers, 1 or 0; others weigh the two terms.

    Raises:
        InvalidData: the shapes do not fit.

    Source: Hadsell et al. 2006, doi:10.1109/CVPR.2006.100.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> contrastive(a, b, torch.tensor([1]))
        tensor([0.5000])
    """
    same_shape(a=a, b=b)
    together = label_a_row(labels, a, _LABELS).to(a.dtype)
    distances = distance_metric(a, b)
    return 0.5 * (together * distances.square() + (1 - together) * (margin - distances).relu().square())


def online_contrastive(
    a: Tensor,
    b: Tensor,
    labels: Tensor,
    distance_metric: Distance = SiameseDistanceMetric.COSINE_DISTANCE,
    margin: float = 0.5,
) -> Tensor:
    """The sum of D^2 over hard positives and of max(0, margin - D)^2 over hard negatives.

    A positive is hard if it is farther than the nearest negative, a negative if it is nearer than the farthest
    positive; where the batch has only one kind, those beyond that kind's mean are.

    Args:
        a, b: (n, d).
        labels: n numbers: pairs with 1 are positives, with 0 negatives, others are left out.

    Returns:
        A scalar; 0 if no pair is hard.

    Raises:
        InvalidData: the shapes do not fit.
    """
    same_shape(a=a, b=b)
    labels = label_a_row(labels, a, _LABELS)
    distances = distance_metric(a, b)
    positives, negatives = distances[labels == 1], distances[labels == 0]
    farthest = positives.max() if len(positives) else negatives.mean()
    nearest = negatives.min() if len(negatives) else positives.mean()
    hard_positives, hard_negatives = positives[positives > nearest], negatives[negatives < farthest]
    return hard_positives.square().sum() + (margin - hard_negatives).relu().square().sum()


class ContrastiveLoss(Loss):
    """Pairs that belong together must be near, others apart by a margin.

    Use: pairs labelled 1 or 0, such as duplicate questions.

    Source: Hadsell et al. 2006, doi:10.1109/CVPR.2006.100

    Args:
        model: what to train.
        distance_metric: of row i from row i; one of `SiameseDistanceMetric`, or another function.
        margin: the distance from which on a negative costs nothing.
        size_average: the mean over the batch, else the sum.
    """

    inputs = Inputs(("text_a", "text_b"), labels=_LABELS)
    config = "distance_metric margin size_average"
    citation = citations.CONTRASTIVE

    def __init__(
        self,
        model: Any,
        distance_metric: Distance = SiameseDistanceMetric.COSINE_DISTANCE,
        margin: float = 0.5,
        size_average: bool = True,
    ) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.margin = margin
        self.size_average = size_average
        self._checked = False

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of both texts and n labels."""
        if not self._checked:
            self._checked = _warn_unless_binary(labels, "weigh the two terms of the loss")
        a, b = embeddings
        losses = contrastive(a, b, labels, self.distance_metric, self.margin)
        return losses.mean() if self.size_average else losses.sum()


class OnlineContrastiveLoss(Loss):
    """`ContrastiveLoss` over the hard pairs of each batch alone.

    Use: as that loss, and often better; batches must be large enough to hold hard pairs of both kinds.

    Source: the hard-pair selection of sentence-transformers, over Hadsell et al. 2006

    Args:
        model: what to train.
        distance_metric: of row i from row i; one of `SiameseDistanceMetric`, or another function.
        margin: the distance from which on a negative costs nothing.
    """

    inputs = Inputs(("text_a", "text_b"), labels=_LABELS)
    config = "distance_metric margin"
    citation = citations.CONTRASTIVE

    def __init__(
        self,
        model: Any,
        distance_metric: Distance = SiameseDistanceMetric.COSINE_DISTANCE,
        margin: float = 0.5,
    ) -> None:
        super().__init__(model)
        self.distance_metric = distance_metric
        self.margin = margin
        self._checked = False

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of both texts and n labels."""
        if not self._checked:
            self._checked = _warn_unless_binary(labels, "are left out")
        a, b = embeddings
        return online_contrastive(a, b, labels, self.distance_metric, self.margin)


def _warn_unless_binary(labels: Any, consequence: str) -> bool:
    """Look at a loss's first labels; looking at all would make an accelerator wait each time."""
    if isinstance(labels, Tensor) and not torch.isin(labels, labels.new_tensor([0, 1])).all():
        warnings.warn(f"labels should be 0 or 1; pairs with others {consequence}", TrainingWarning, stacklevel=3)
    return True
