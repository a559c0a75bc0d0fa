"""A classifier over pairs, which shapes the embeddings as it learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vicinal.errors import InvalidData
from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss, device_of
from vicinal.losses.checks import same_shape
from vicinal.losses.features import Features

_CROSS_ENTROPY = nn.CrossEntropyLoss()


def pair_features(u: Tensor, v: Tensor, both: bool = True, difference: bool = True, product: bool = False) -> Tensor:
    """[u; v; |u - v|; u * v], of which any may be left out: what a classifier of pairs sees.

    Args:
        u, v: (n, d).

    Returns:
        (n, k * d).

    Raises:
        InvalidData: the shapes differ; both are named.

    Source: Reimers and Gurevych 2019, arXiv:1908.10084.

    Example:
        >>> pair_features(torch.tensor([[1.0]]), torch.tensor([[3.0]]), product=True)
        tensor([[1., 3., 2., 3.]])
    """
    same_shape(u=u, v=v)
    return torch.cat([*[u, v] * both, *[(u - v).abs()] * difference, *[u * v] * product], 1)


class SoftmaxLoss(Loss):
    """A linear classifier over both embeddings and their difference must tell the pair's class.

    Use: pairs with a class each, such as NLI; `MultipleNegativesRankingLoss` on entailments with contradictions as
        negatives is usually better.

    Source: Reimers and Gurevych 2019, arXiv:1908.10084

    Args:
        model: what to train.
        embedding_dimension: of the model. (`sentence_embedding_dimension` is its older name.)
        num_labels: how many classes there are.
        concatenation_sent_rep, concatenation_sent_difference, concatenation_sent_multiplication: what the classifier
            sees: u and v, |u - v|, u * v.
        loss_fct: of logits (n, num_labels) and labels.

    Raises:
        ValueError: the classifier would see nothing.
    """

    inputs = Inputs(("text_a", "text_b"), labels="the class of each pair, an integer from 0")
    config = "num_labels concatenation_sent_rep concatenation_sent_difference concatenation_sent_multiplication"
    citation = citations.SBERT

    def __init__(
        self,
        model: Any,
        embedding_dimension: int | None = None,
        num_labels: int | None = None,
        concatenation_sent_rep: bool = True,
        concatenation_sent_difference: bool = True,
        concatenation_sent_multiplication: bool = False,
        loss_fct: Any = _CROSS_ENTROPY,
        *,
        sentence_embedding_dimension: int | None = None,
    ) -> None:
        super().__init__(model)
        dimension = embedding_dimension if sentence_embedding_dimension is None else sentence_embedding_dimension
        if dimension is None or num_labels is None:
            raise TypeError("SoftmaxLoss needs embedding_dimension and num_labels")
        vectors = 2 * concatenation_sent_rep + concatenation_sent_difference + concatenation_sent_multiplication
        if not vectors:
            raise ValueError(
                "the classifier needs something to see: one of concatenation_sent_rep, concatenation_sent_difference "
                "and concatenation_sent_multiplication must be True"
            )
        self.num_labels = num_labels
        self.concatenation_sent_rep = concatenation_sent_rep
        self.concatenation_sent_difference = concatenation_sent_difference
        self.concatenation_sent_multiplication = concatenation_sent_multiplication
        self.classifier = nn.Linear(vectors * dimension, num_labels, device=device_of(self.model))
        self.loss_fct = loss_fct

    def check(self, columns: Sequence[Features], labels: Any) -> None:
        """Without labels there are logits instead of a loss."""
        super().check(columns, torch.ones(1) if labels is None else labels)

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Any:
        """The loss of (n, d) embeddings of both texts and n labels; without labels, (embeddings, logits)."""
        u, v = embeddings
        seen = pair_features(
            u,
            v,
            self.concatenation_sent_rep,
            self.concatenation_sent_difference,
            self.concatenation_sent_multiplication,
        )
        logits = self.classifier(seen.to(self.classifier.weight.dtype))
        if labels is None:
            return list(embeddings), logits
        if self.num_labels == 1 or labels.shape != logits.shape:
            if labels.numel() != len(logits):
                raise InvalidData(
                    f"SoftmaxLoss takes a class a pair, {len(logits)} labels, or {self.num_labels} "
                    f"probabilities a pair, "
                    f"but got labels of shape {tuple(labels.shape)}"
                )
            labels = labels.reshape(-1)
        return self.loss_fct(logits, labels.to(logits.device))
