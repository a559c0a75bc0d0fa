"""Embeddings spread over the sphere as random directions would be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss
from vicinal.similarity import cos_sim

Similarity = Callable[[Tensor, Tensor], Tensor]


def spread(embeddings: Tensor, similarity_fct: Similarity = cos_sim) -> tuple[Tensor, Tensor]:
    """How far the similarities of different rows are from those of random directions: M1^2 and max(0, M2 - 1/d).

    M1 and M2 are the mean of s_ij and of s_ij^2 over i != j; random directions have 0 and 1/d.

    Args:
        embeddings: (n, d), of unrelated texts.
        similarity_fct: of every row with every row.

    Returns:
        Two scalars; 0 for a single row.

    Source: Zhang et al. 2017, arXiv:1708.06320.
    """
    rows, dims = embeddings.shape
    scores = similarity_fct(embeddings, embeddings)
    scores = scores.masked_fill(torch.eye(rows, dtype=torch.bool, device=scores.device), 0)
    pairs = max(rows * (rows - 1), 1)
    return (scores.sum() / pairs).square(), (scores.square().sum() / pairs - 1 / dims).relu()


class GlobalOrthogonalRegularizationLoss(Loss):
    """Texts of a column must be as dissimilar, on average, as random directions are.

    The loss is a dict of its two parts. To go with another loss: compute the embeddings once and return a dict of both.

    Use: beside a ranking loss, against embeddings that crowd together.

    Source: Zhang et al. 2017, arXiv:1708.06320

    Args:
        model: what to train.
        similarity_fct: of every row with every row.
        mean_weight, second_moment_weight: of the two parts; 0 or None leaves one out.
        aggregation: "mean" or "sum" over columns.

    Raises:
        ValueError: both parts are left out, or the aggregation is neither.
    """

    inputs = Inputs(("text",), more="text")
    config = "similarity_fct mean_weight second_moment_weight aggregation"
    citation = citations.SPREAD_OUT

    def __init__(
        self,
        model: Any,
        similarity_fct: Similarity = cos_sim,
        mean_weight: float | None = 1.0,
        second_moment_weight: float | None = 1.0,
        aggregation: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(model)
        if not mean_weight and not second_moment_weight:
            raise ValueError("one of mean_weight and second_moment_weight must be other than 0")
        if aggregation not in ("mean", "sum"):
            raise ValueError(f"aggregation must be 'mean' or 'sum', not {aggregation!r}")
        self.similarity_fct = similarity_fct
        self.mean_weight = mean_weight
        self.second_moment_weight = second_moment_weight
        self.aggregation = aggregation

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> dict[str, Tensor]:
        """{"gor_mean": scalar, "gor_second_moment": scalar} of (n, d) embeddings a column; labels are ignored."""
        means, moments = zip(*(spread(column, self.similarity_fct) for column in embeddings), strict=True)
        parts = {}
        for name, weight, terms in (
            ("gor_mean", self.mean_weight, means),
            ("gor_second_moment", self.second_moment_weight, moments),
        ):
            if weight:
                total = torch.stack(terms).sum()
                parts[name] = weight * (total if self.aggregation == "sum" else total / len(terms))
        return parts
