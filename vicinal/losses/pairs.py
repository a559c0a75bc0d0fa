"""Pairs with a degree of similarity: met exactly, or only in its order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vicinal.errors import InvalidData
from vicinal.losses import citations
from vicinal.losses.base import IDENTITY, Inputs, Loss
from vicinal.losses.checks import label_a_row, same_shape
from vicinal.losses.features import Features
from vicinal.similarity import pairwise_angle_sim, pairwise_cos_sim

_MSE = nn.MSELoss()


def cosent(
    a: Tensor,
    b: Tensor,
    labels: Tensor,
    scale: float = 20.0,
    similarity_fct: Callable[[Tensor, Tensor], Tensor] = pairwise_cos_sim,
) -> Tensor:
    """log(1 + sum over pairs with y_i < y_j of exp(s_i - s_j)), s_i = scale * similarity(a_i, b_i).

    In n log n steps: rows are sorted by label, and the sum over all j above i is a running one.

    Args:
        a, b: (n, d).
        labels: n numbers, of which only the order counts.
        scale: the inverse of the temperature.
        similarity_fct: of row i with row i.

    Returns:
        A scalar; 0 if all labels are equal.

    Raises:
        InvalidData: the shapes do not fit.

    Source: Huang et al. 2024, doi:10.1109/TASLP.2024.3402087. With `pairwise_angle_sim`: Li and Li 2023,
    arXiv:2309.12871.

    Example:
        >>> a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> round(cosent(a, b, torch.tensor([0.2, 0.9]), scale=1.0).item(), 4)  # log(1 + exp(1 - 0))
        1.3133
    """
    same_shape(a=a, b=b)
    labels = label_a_row(labels, a, "a degree of similarity a pair")
    labels, order = labels.sort()
    scores = similarity_fct(a, b)[order] * scale
    above = torch.cat([scores.neg().flip(0).logcumsumexp(0).flip(0), scores.new_full((1,), -torch.inf)])
    terms = scores + above[torch.searchsorted(labels, labels, right=True)]
    return torch.cat([scores.new_zeros(1), terms]).logsumexp(0)


class CoSENTLoss(Loss):
    """Of any two pairs of texts, that with the higher label must be the more similar.

    Use: pairs with a degree of similarity (STS); the first choice for them.

    Source: Huang et al. 2024, doi:10.1109/TASLP.2024.3402087

    Args:
        model: what to train.
        scale: the inverse of the temperature.
        similarity_fct: of row i with row i.
    """

    inputs = Inputs(("text_a", "text_b"), labels="a degree of similarity; only its order counts")
    config = "scale similarity_fct"
    citation = citations.COSENT

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity_fct: Callable[[Tensor, Tensor], Tensor] = pairwise_cos_sim,
    ) -> None:
        super().__init__(model)
        self.scale = scale
        self.similarity_fct = similarity_fct

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of both texts and n labels."""
        a, b = embeddings
        return cosent(a, b, labels, self.scale, self.similarity_fct)


class AnglELoss(CoSENTLoss):
    """`CoSENTLoss` by the angle between complex vectors, whose gradient does not vanish where the cosine's does.

    With negatives, (anchor, positive) has the row's label y (1 without labels) and (anchor, negative_k) has 1 - y.

    Use: as `CoSENTLoss`, for pairs with a degree of similarity, or for triplets without labels.

    Source: Li and Li 2023, arXiv:2309.12871

    Args:
        model: what to train.
        scale: the inverse of the temperature.
    """

    inputs = Inputs(
        ("text_a", "text_b"), more="negative", labels="a degree of similarity; from three columns on it may be missing"
    )
    citation = citations.ANGLE

    def __init__(self, model: Any, scale: float = 20.0) -> None:
        super().__init__(model, scale, pairwise_angle_sim)

    def check(self, columns: Sequence[Features], labels: Any) -> None:
        """Labels may be missing from three columns on."""
        super().check(columns, torch.ones(1) if labels is None and len(columns) > 2 else labels)

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of both texts, or of anchors, positives, negatives, ..., and n labels."""
        anchors, *others = embeddings
        if labels is None:
            if len(others) < 2:
                raise InvalidData("AnglELoss needs labels for pairs; from three columns on they may be missing")
            labels = anchors.new_ones(len(anchors))
        labels = label_a_row(labels, anchors, "a degree of similarity a pair")
        repeated = torch.cat([labels, *[1 - labels] * (len(others) - 1)])
        return super().compute_loss_from_embeddings([anchors.repeat(len(others), 1), torch.cat(others)], repeated)


class CosineSimilarityLoss(Loss):
    """The cosine of a pair must be its label.

    Use: pairs with a degree of similarity from 0 to 1 that is meant literally; else `CoSENTLoss` is usually better.

    Source: Reimers and Gurevych 2019, arXiv:1908.10084

    Args:
        model: what to train.
        loss_fct: of cosines and labels.
        cos_score_transformation: applied to cosines first.
    """

    inputs = Inputs(("text_a", "text_b"), labels="the cosine wanted, usually from 0 to 1")
    config = "loss_fct cos_score_transformation"
    citation = citations.SBERT

    def __init__(self, model: Any, loss_fct: Any = _MSE, cos_score_transformation: Any = IDENTITY) -> None:
        super().__init__(model)
        self.loss_fct = loss_fct
        self.cos_score_transformation = cos_score_transformation

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of both texts and n labels."""
        a, b = embeddings
        same_shape(text_a=a, text_b=b)
        wanted = label_a_row(labels, a, "the cosine wanted of each pair")
        cosines = pairwise_cos_sim(a, b)
        return self.loss_fct(self.cos_score_transformation(cosines), wanted.to(cosines.dtype))
