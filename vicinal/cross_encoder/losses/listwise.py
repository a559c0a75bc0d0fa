"""Losses over each query's list of documents. Lists differ in length: rows of a matrix, with a mask of what is real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vicinal.cross_encoder.losses.base import PairLoss
from vicinal.errors import InvalidData
from vicinal.losses import citations
from vicinal.losses.base import IDENTITY, Inputs, described

_LABELS = "a list of numbers a query, one a document"
_EPS = 1e-10


def padded(values: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Lists one after the other as rows of a matrix, 0 where a list is shorter, and a mask of what is real.

    Args:
        values: (sum of lengths,).

    Returns:
        Both (lists, longest).

    Example:
        >>> padded(torch.tensor([1.0, 2.0, 3.0]), [1, 2])[0]
        tensor([[1., 0.],
                [2., 3.]])
    """
    counts = torch.tensor(lengths, device=values.device)
    mask = torch.arange(max(lengths), device=values.device) < counts[:, None]
    return values.new_zeros(mask.shape).masked_scatter(mask, values), mask


def list_net(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """The cross-entropy of two distributions over each list: -mean_i sum_j softmax(y_i)_j log softmax(s_i)_j.

    Args:
        scores, labels: (lists, longest).
        mask: likewise, true where a document is; every list has one.

    Returns:
        A scalar.

    Source: Cao et al. 2007, doi:10.1145/1273496.1273513.
    """
    wanted = labels.masked_fill(~mask, -torch.inf).softmax(1)
    found = scores.masked_fill(~mask, -torch.inf).log_softmax(1).masked_fill(~mask, 0)
    return -(wanted * found).sum(1).mean()


def list_mle(scores: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """-mean_i sum_j w_ij log P(j comes first of those from j on): -log of the chance of each list's order
    (Plackett-Luce).

    Args:
        scores: (lists, longest), best document first.
        mask: likewise, true where a document is.
        weights: likewise; None is 1 for each, else they are scaled to the sum 1 a list.

    Returns:
        A scalar.

    Source: Xia et al. 2008, doi:10.1145/1390156.1390306. With weights: Lan et al. 2014 (p-ListMLE).
    """
    left = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    terms = (scores - left.flip(1).logcumsumexp(1).flip(1)).masked_fill(~mask, 0)
    if weights is not None:
        terms = terms * (weights / (weights.sum(1, keepdim=True) + _EPS)).to(terms)
    return -terms.sum(1).mean()


def adr_mse(scores: Tensor, labels: Tensor, mask: Tensor, alpha: float = 1.0) -> Tensor:
    """The mean over documents of (r - r')^2 / log2(r + 1), r the rank by label, r' a smooth one by score.

    r'_i = 1/2 + sum_j sigmoid(alpha * (s_j - s_i)), j over the list; documents with one label share the mean of their
    ranks.

    Args:
        scores, labels: (lists, longest).
        mask: likewise, true where a document is.
        alpha: how sharp r' is.

    Returns:
        A scalar.

    Source: Schlatt et al. 2025, doi:10.1007/978-3-031-88714-7_31.
    """
    others = mask.unsqueeze(1)
    above = torch.sigmoid(alpha * (scores.unsqueeze(1) - scores.unsqueeze(2))).masked_fill(~others, 0)
    smooth = 0.5 + above.sum(2)
    greater = ((labels.unsqueeze(1) > labels.unsqueeze(2)) & others).sum(2)
    equal = ((labels.unsqueeze(1) == labels.unsqueeze(2)) & others).sum(2)
    ranks = greater.to(scores) + (equal.to(scores) + 1) / 2
    errors = (ranks - smooth).square() / torch.log2(ranks + 1)
    return errors.masked_fill(~mask, 0).sum() / mask.sum()


class ListLoss(PairLoss):
    """The base of losses over lists: `loss([queries, [documents of each]], [labels of each])`.

    Args:
        model: what to train, with one label.
        activation_fn: applied to logits first; None for none.
        mini_batch_size: how many pairs to score at a time; None for the number of queries, 0 or less for all.
    """

    inputs = Inputs(("query", "documents"), labels=_LABELS)
    config = "activation_fn mini_batch_size"

    def __init__(self, model: Any, activation_fn: Any = IDENTITY, mini_batch_size: int | None = None) -> None:
        super().__init__(model, activation_fn)
        self.mini_batch_size = mini_batch_size

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Tensor:
        """The loss of lists."""
        queries, lists = inputs
        lengths = [len(documents) for documents in lists]
        wanted = _label_lists(labels, lengths)
        pairs = [(query, text) for query, documents in zip(queries, lists, strict=True) for text in documents]
        size = len(queries) if self.mini_batch_size is None else self.mini_batch_size
        found = self.activation_fn(self.logits(pairs, options, size if size > 0 else None).squeeze(1))
        scores, mask = padded(found, lengths)
        return self.list_loss(scores, padded(wanted.to(found), lengths)[0], mask)

    def list_loss(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The loss of (lists, longest) scores and labels."""
        raise NotImplementedError(f"{type(self).__name__} must define list_loss(scores, labels, mask)")


class ListNetLoss(ListLoss):
    """The distribution that scores make over a query's documents must be that of the labels.

    Use: several documents a query, graded.

    Source: Cao et al. 2007, doi:10.1145/1273496.1273513
    """

    citation = citations.LISTNET

    def list_loss(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The loss of (lists, longest) scores and labels."""
        return list_net(scores, labels, mask)


class PListMLELambdaWeight(nn.Module):  # type: ignore[misc]
    """Weights by place: 2^(n - i) - 1 for place i of n, from 1.

    Args:
        rank_discount_fn: another function, of the mask (lists, longest), that returns weights of that shape.
    """

    def __init__(self, rank_discount_fn: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.rank_discount_fn = rank_discount_fn

    def forward(self, mask: Tensor) -> Tensor:
        """Weights, (lists, longest), of a mask; those of lists over 127 documents are scaled so as not to overflow."""
        if self.rank_discount_fn is not None:
            return self.rank_discount_fn(mask)
        counts = mask.sum(1, keepdim=True)
        places = torch.arange(1, mask.shape[1] + 1, device=mask.device)
        down = (counts - 127).clamp(min=0)
        return (torch.exp2((counts - places - down).float()) - torch.exp2(-down.float())).masked_fill(~mask, 0)


_PLACES = PListMLELambdaWeight()


class PListMLELoss(ListLoss):
    """The order of a query's documents must be likely, its first places above all.

    Use: as `ListMLELoss`; usually better.

    Source: Lan et al. 2014, Position-Aware ListMLE (UAI)

    Args:
        model, activation_fn, mini_batch_size: see `ListNetLoss`.
        lambda_weight: the weights of places; None for equal ones.
        respect_input_order: documents come best first, and labels are ignored; else they are sorted by label.
    """

    config = "lambda_weight activation_fn mini_batch_size respect_input_order"
    citation = citations.PLISTMLE

    def __init__(
        self,
        model: Any,
        lambda_weight: Any = _PLACES,
        activation_fn: Any = IDENTITY,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size)
        self.lambda_weight = lambda_weight
        self.respect_input_order = respect_input_order

    def list_loss(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The loss of (lists, longest) scores and labels."""
        if not self.respect_input_order:
            order = labels.masked_fill(~mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
            scores = scores.gather(1, order)  # the mask stays: what is no document is last before and after
        return list_mle(scores, mask, None if self.lambda_weight is None else self.lambda_weight(mask))


class ListMLELoss(PListMLELoss):
    """The order of a query's documents must be likely.

    Use: several documents a query, ranked.

    Source: Xia et al. 2008, doi:10.1145/1390156.1390306

    Args:
        model, activation_fn, mini_batch_size: see `ListNetLoss`.
        respect_input_order: documents come best first, and labels are ignored; else they are sorted by label.
    """

    config = "activation_fn mini_batch_size respect_input_order"
    citation = citations.LISTMLE

    def __init__(
        self,
        model: Any,
        activation_fn: Any = IDENTITY,
        mini_batch_size: int | None = None,
        respect_input_order: bool = True,
    ) -> None:
        super().__init__(model, None, activation_fn, mini_batch_size, respect_input_order)


class ADRMSELoss(ListLoss):
    """A document's rank by score must be its rank by label, errors at the top weighing most.

    Use: learning the order of a stronger ranker, such as an LLM.

    Source: Schlatt et al. 2025, doi:10.1007/978-3-031-88714-7_31

    Args:
        model, activation_fn, mini_batch_size: see `ListNetLoss`.
        alpha: how sharp the rank by score is.
    """

    config = "alpha activation_fn mini_batch_size"
    citation = citations.ADRMSE

    def __init__(
        self, model: Any, alpha: float = 1.0, activation_fn: Any = IDENTITY, mini_batch_size: int | None = None
    ) -> None:
        super().__init__(model, activation_fn, mini_batch_size)
        self.alpha = alpha

    def list_loss(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """The loss of (lists, longest) scores and labels."""
        return adr_mse(scores, labels, mask, self.alpha)


def _label_lists(labels: Any, lengths: list[int]) -> Tensor:
    """The labels of all lists, one after the other.

    Raises:
        InvalidData: there is not one for each document, or a list is empty.
    """
    if 0 in lengths:
        raise InvalidData(f"every query needs documents, but query {lengths.index(0)} of the batch has none")
    rows = list(labels)
    if not all(isinstance(row, Tensor) and row.ndim == 1 for row in rows):
        told = f"a tensor of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else described(labels)
        raise InvalidData(f"expected labels as one tensor of numbers a query ({_LABELS}), but got {told}")
    if [len(row) for row in rows] != lengths:
        raise InvalidData(f"queries have {lengths} documents, but {[len(row) for row in rows]} labels")
    return torch.cat(rows)
