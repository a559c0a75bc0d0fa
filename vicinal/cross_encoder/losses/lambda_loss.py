"""LambdaLoss: pairs of a query's documents in the wrong order cost what they take from nDCG."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vicinal.cross_encoder.losses.listwise import ListLoss
from vicinal.losses import citations
from vicinal.losses.base import IDENTITY


class BaseWeightingScheme(nn.Module):  # type: ignore[misc]
    """How much each pair of documents counts; a subclass gives `forward`."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """Weights of pairs.

        Args:
            gain: (lists, longest), (2^label - 1) / ideal DCG, in the order of scores.
            discount: (1, longest), log2(1 + place).
            true_sorted: (lists, longest), labels in the order of scores, 0 where none is.

        Returns:
            What broadcasts with (lists, longest, longest).
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward(gain, discount, true_sorted)")


class NoWeightingScheme(BaseWeightingScheme):
    """All pairs count alike (RankNet)."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """1."""
        return gain.new_ones(())


class NDCGLoss1Scheme(BaseWeightingScheme):
    """gain_i / discount_i; pairs of any order count."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """(lists, longest, 1)."""
        return (gain / discount).unsqueeze(2)


class NDCGLoss2Scheme(BaseWeightingScheme):
    """|1 / D(|i - j|) - 1 / D(|i - j| + 1)| * |gain_i - gain_j|: a tighter bound of nDCG."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """(lists, longest, longest)."""
        places = torch.arange(gain.shape[1], device=gain.device)
        apart = (places[:, None] - places).abs()
        inverse = 1 / discount[0]
        deltas = (inverse[(apart - 1).clamp(min=0)] - inverse[apart]).abs()  # 0 on the diagonal
        return deltas * (gain.unsqueeze(2) - gain.unsqueeze(1)).abs()


class LambdaRankScheme(BaseWeightingScheme):
    """|1 / D_i - 1 / D_j| * |gain_i - gain_j|: what nDCG changes by if the two swap places."""

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """(lists, longest, longest)."""
        inverse = 1 / discount
        return (inverse.unsqueeze(2) - inverse.unsqueeze(1)).abs() * (gain.unsqueeze(2) - gain.unsqueeze(1)).abs()


class NDCGLoss2PPScheme(BaseWeightingScheme):
    """mu * NDCGLoss2 + LambdaRank.

    Args:
        mu: the weight of the first.
    """

    def __init__(self, mu: float = 10.0) -> None:
        super().__init__()
        self.mu = mu
        self.ndcg_loss2 = NDCGLoss2Scheme()
        self.lambda_rank = LambdaRankScheme()

    def forward(self, gain: Tensor, discount: Tensor, true_sorted: Tensor) -> Tensor:
        """(lists, longest, longest)."""
        first = self.ndcg_loss2(gain, discount, true_sorted)
        return self.mu * first + self.lambda_rank(gain, discount, true_sorted)


_NDCG_LOSS2_PP = NDCGLoss2PPScheme()


def lambda_loss(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    weighting_scheme: Any = _NDCG_LOSS2_PP,
    k: int | None = None,
    sigma: float = 1.0,
    eps: float = 1e-10,
) -> Tensor:
    """The mean over pairs with y_i > y_j of w_ij * log(1 + exp(-sigma * (s_i - s_j))), places by score.

    Args:
        scores, labels: (lists, longest); negative labels count as 0 in gains.
        mask: likewise, true where a document is.
        weighting_scheme: w; with `NDCGLoss1Scheme` pairs of any order count.
        k: leave out pairs with both beyond place k.
        sigma: how sharp the step is.
        eps: the least ideal DCG that is divided by.

    Returns:
        A scalar; 0 if no two labels of a list differ.

    Source: Wang et al. 2018, doi:10.1145/3269206.3271784. Without weights: Burges et al. 2005,
    doi:10.1145/1102351.1102363.
    """
    longest = scores.shape[1]
    order = scores.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    scores, true, real = (tensor.gather(1, order) for tensor in (scores, labels, mask))
    counted = real.unsqueeze(2) & real.unsqueeze(1)
    if not isinstance(weighting_scheme, NDCGLoss1Scheme):
        counted = counted & (true.unsqueeze(2) > true.unsqueeze(1))
    if k is not None:
        top = torch.arange(longest, device=scores.device) < k
        counted = counted & (top[:, None] | top)
    true = true.clamp(min=0).masked_fill(~real, 0)
    discount = torch.log2(torch.arange(2, longest + 2, device=scores.device).to(scores)).unsqueeze(0)
    ideal = (torch.exp2(true.sort(dim=1, descending=True).values) - 1) / discount
    gain = (torch.exp2(true) - 1) / ideal[:, :k].sum(1, keepdim=True).clamp(min=eps)
    apart = (scores.unsqueeze(2) - scores.unsqueeze(1)).clamp(-1e8, 1e8)
    losses = -weighting_scheme(gain, discount, true) * F.logsigmoid(sigma * apart)
    return losses[counted].sum() / counted.sum().clamp(min=1)


class LambdaLoss(ListLoss):
    """Two documents in the wrong order cost what nDCG loses by it.

    Use: several documents a query, graded; the strongest of the listwise losses in the paper's experiments.

    Source: Wang et al. 2018, doi:10.1145/3269206.3271784

    Args:
        model, activation_fn, mini_batch_size: see `ListNetLoss`.
        weighting_scheme: how pairs count; None for all alike.
        k: nDCG at k; None for the whole list.
        sigma: how sharp the step is.
        eps: the least ideal DCG that is divided by.
        reduction_log: "binary" or "natural" logarithm.

    Raises:
        ValueError: there is no such logarithm.
    """

    config = "weighting_scheme k sigma eps reduction_log activation_fn mini_batch_size"
    citation = citations.LAMBDA

    def __init__(
        self,
        model: Any,
        weighting_scheme: Any = _NDCG_LOSS2_PP,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Literal["natural", "binary"] = "binary",
        activation_fn: Any = IDENTITY,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size)
        if reduction_log not in ("natural", "binary"):
            raise ValueError(f"reduction_log must be 'natural' or 'binary', not {reduction_log!r}")
        self.weighting_scheme = weighting_scheme or NoWeightingScheme()
        self.k = k
        self.sigma = sigma
        self.eps = eps
        self.reduction_log = reduction_log

    def list_loss(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The loss of (lists, longest) scores and labels."""
        loss = lambda_loss(scores, labels, mask, self.weighting_scheme, self.k, self.sigma, self.eps)
        return loss / math.log(2) if self.reduction_log == "binary" else loss


class RankNetLoss(LambdaLoss):
    """Two documents in the wrong order cost, by how far their scores are apart, wherever they stand.

    Use: several documents a query, where any wrong order is as bad as another.

    Source: Burges et al. 2005, doi:10.1145/1102351.1102363

    Args:
        model, k, sigma, eps, reduction_log, activation_fn, mini_batch_size: see `LambdaLoss`.
    """

    config = "k sigma eps reduction_log activation_fn mini_batch_size"
    citation = citations.RANKNET

    def __init__(
        self,
        model: Any,
        k: int | None = None,
        sigma: float = 1.0,
        eps: float = 1e-10,
        reduction_log: Literal["natural", "binary"] = "binary",
        activation_fn: Any = IDENTITY,
        mini_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, NoWeightingScheme(), k, sigma, eps, reduction_log, activation_fn, mini_batch_size)
