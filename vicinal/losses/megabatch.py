"""The hardest negative of a large batch, by a margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vicinal.losses import citations
from vicinal.losses.base import Caching, Inputs, Loss
from vicinal.losses.checks import same_shape
from vicinal.losses.gradcache import mean_over_rows
from vicinal.similarity import cos_sim


def mega_batch_margin(
    anchors: Tensor,
    positives: Tensor,
    positive_margin: float = 0.8,
    negative_margin: float = 0.3,
    chunk: int | None = None,
) -> Tensor:
    """mean_i [max(0, positive_margin - cos(a_i, p_i)) + max(0, max_{j != i} cos(a_i, p_j) - negative_margin)].

    Args:
        anchors: (n, d).
        positives: (n, d), row i for anchor i; the most similar of the others is its negative.
        chunk: how many rows of scores to hold at a time; None for all.

    Returns:
        A scalar; a single row has no negative.

    Raises:
        InvalidData: the shapes differ; both are named.

    Source: Wieting and Gimpel 2018, arXiv:1711.05732.
    """
    same_shape(anchors=anchors, positives=positives)

    def row_losses(part: range) -> Tensor:
        scores = cos_sim(anchors[part.start : part.stop], positives)
        at = torch.arange(part.start, part.stop, device=anchors.device)[:, None]
        own = at == torch.arange(len(positives), device=anchors.device)
        hardest = scores.masked_fill(own, -torch.inf).amax(1)
        return (positive_margin - scores.gather(1, at).squeeze(1)).relu() + (hardest - negative_margin).relu()

    return mean_over_rows(row_losses, range(len(anchors)), chunk)


class MegaBatchMarginLoss(Loss):
    """A positive must be near, and the hardest negative of a large batch far, each by a margin.

    Use: paraphrase pairs in batches of 500 and more: the larger the batch, the harder the negative.

    Source: Wieting and Gimpel 2018, arXiv:1711.05732

    Args:
        model: what to train.
        positive_margin: the cosine that a positive must reach.
        negative_margin: the cosine that the hardest negative must not exceed.
        use_mini_batched_version: embed `mini_batch_size` texts (or `mini_batch_num_tokens` tokens) at a time, in the
            memory of one mini-batch; the result is the same.
        show_progress_bar: one for the mini-batches of each step.
    """

    inputs = Inputs(("anchor", "positive"))
    config = "positive_margin negative_margin mini_batch_size mini_batch_num_tokens"
    citation = citations.PARANMT

    def __init__(
        self,
        model: Any,
        positive_margin: float = 0.8,
        negative_margin: float = 0.3,
        use_mini_batched_version: bool = True,
        mini_batch_size: int = 50,
        mini_batch_num_tokens: int | None = None,
        show_progress_bar: bool = False,
    ) -> None:
        super().__init__(model)
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin
        if use_mini_batched_version:
            self.caching = Caching(mini_batch_size, mini_batch_num_tokens, show_progress_bar)

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of anchors and positives; labels are ignored."""
        anchors, positives = embeddings
        return mega_batch_margin(anchors, positives, self.positive_margin, self.negative_margin, self.chunk)
