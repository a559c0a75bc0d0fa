"""Ranking within the batch: each query's positive must score above negatives drawn from other rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vicinal.cross_encoder.losses.base import PairLoss
from vicinal.losses import citations
from vicinal.losses.base import Inputs, described

_SIGMOID = nn.Sigmoid()


def first_of_candidates(scores: Tensor) -> Tensor:
    """Cross-entropy of finding the first candidate: mean_i [log sum_j exp(s_ij) - s_i0].

    Args:
        scores: (n, k) of each query's candidates.

    Returns:
        A scalar.

    Source: van den Oord et al. 2018, arXiv:1807.03748.
    """
    return F.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64, device=scores.device))


def drawn_negatives(rows: int, columns: int, count: int | None) -> Tensor:
    """For each row, `count` of the texts of other rows, (rows, count): index c * rows + r is row r of column c.

    Args:
        count: drawn without replacement; None, or more than there are, for all.
    """
    others = ~torch.eye(rows, dtype=torch.bool).repeat(1, columns)
    if count is not None and count < (rows - 1) * columns:
        return torch.multinomial(others.float(), count) if count else torch.empty(rows, 0, dtype=torch.int64)
    return torch.arange(rows * columns).repeat(rows, 1)[others].reshape(rows, -1)


class MultipleNegativesRankingLoss(PairLoss):
    """Each query's positive must score above its negatives and above texts drawn from other rows (InfoNCE).

    Use: (query, positive) pairs, with or without mined negatives. Every negative costs a pass of the network.

    Source: van den Oord et al. 2018, arXiv:1807.03748

    Args:
        model: what to train, with one label.
        num_negatives: texts of other rows for each query; None for all.
        scale: the inverse of the temperature; None for 1.
        activation_fn: applied to logits first; None for none.
    """

    inputs = Inputs(("query", "positive"), more="negative")
    config = "scale num_negatives"
    citation = citations.INFONCE

    def __init__(
        self, model: Any, num_negatives: int | None = 4, scale: float | None = 10.0, activation_fn: Any = _SIGMOID
    ) -> None:
        super().__init__(model, activation_fn)
        self.num_negatives = num_negatives
        self.scale = scale
        self.mini_batch_size: int | None = None

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Tensor:
        """The loss of queries, positives, negatives, ...; labels are ignored."""
        queries, *columns = inputs
        rows = len(queries)
        texts = [text for column in columns for text in column]
        own = torch.arange(len(texts)).reshape(len(columns), rows).T
        drawn = drawn_negatives(rows, len(columns), self.num_negatives)
        candidates = torch.cat([own[:, :1], drawn, own[:, 1:]], 1)
        pairs = [(query, texts[i]) for query, row in zip(queries, candidates.tolist(), strict=True) for i in row]
        scores = self.logits(pairs, options, self.mini_batch_size or rows).reshape(candidates.shape)
        return first_of_candidates(self.activation_fn(scores) * (self.scale or 1))

    def get_config_dict(self) -> dict[str, Any]:
        """The settings."""
        return {**super().get_config_dict(), "activation_fn": described(self.activation_fn)}


class CachedMultipleNegativesRankingLoss(MultipleNegativesRankingLoss):
    """`MultipleNegativesRankingLoss` for any number of pairs: the memory is that of a mini-batch.

    Use: as that loss, where its batch does not fit in memory. The result is the same; a step takes about a third
    longer.

    Source: Gao et al. 2021, arXiv:2101.06983

    Args:
        mini_batch_size: how many pairs to score at a time.
        show_progress_bar: one for the mini-batches of each step.
        model, num_negatives, scale, activation_fn: as there.

    Raises:
        ValueError: `mini_batch_size` is not positive.
    """

    config = "scale num_negatives mini_batch_size"
    citation = citations.GRADCACHE
    uses_gradient_cache = True

    def __init__(
        self,
        model: Any,
        num_negatives: int | None = 4,
        scale: float | None = 10.0,
        activation_fn: Any = _SIGMOID,
        mini_batch_size: int = 32,
        show_progress_bar: bool = False,
    ) -> None:
        super().__init__(model, num_negatives, scale, activation_fn)
        if mini_batch_size < 1:
            raise ValueError(f"mini_batch_size must be a positive integer, not {mini_batch_size}")
        self.mini_batch_size = mini_batch_size
        self.show_progress_bar = show_progress_bar
