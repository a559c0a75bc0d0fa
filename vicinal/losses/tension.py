"""Contrastive tension: two copies of a model, which must agree on equal texts and disagree on others; no labels."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vicinal.losses import citations
from vicinal.losses.base import Encode, Inputs, Loss, described
from vicinal.losses.checks import label_a_row, same_shape
from vicinal.losses.features import Features, tokens
from vicinal.similarity import cos_sim

_SAME = "1 if both texts are the same, 0 if not"


def contrastive_tension(a: Tensor, b: Tensor, labels: Tensor) -> Tensor:
    """sum_i [log(1 + exp(s_i)) - y_i s_i], s_i = a_i . b_i: the logistic loss of telling equal texts.

    Args:
        a: (n, d), by one model.
        b: (n, d), by the other.
        labels: n numbers, 1 if both texts are the same.

    Returns:
        A scalar.

    Raises:
        InvalidData: the shapes do not fit.

    Source: Carlsson et al. 2021, https://openreview.net/forum?id=Ov_sMNau-PF.
    """
    same_shape(a=a, b=b)
    scores = (a * b).sum(1)
    return F.binary_cross_entropy_with_logits(scores, label_a_row(labels, a, _SAME).to(scores), reduction="sum")


def contrastive_tension_in_batch(
    a: Tensor, b: Tensor, scale: float | Tensor = 20.0, similarity_fct: Callable[[Tensor, Tensor], Tensor] = cos_sim
) -> Tensor:
    """Cross-entropy of finding each text's embedding by the other model among the batch's, the mean of both directions.

    Args:
        a: (n, d), by one model.
        b: (n, d), of the same texts by the other.
        scale: the inverse of the temperature.
        similarity_fct: of every row with every row.

    Returns:
        A scalar.

    Raises:
        InvalidData: the shapes differ; both are named.
    """
    same_shape(a=a, b=b)
    scores = similarity_fct(a, b) * scale
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


class ContrastiveTensionLoss(Loss):
    """Two copies of a model must agree, by dot product, on equal texts and disagree on different ones.

    Use: texts alone, with a `ContrastiveTensionDataLoader`, or pairs with the label 1 for equal texts. The other
        copy is thrown away.

    Source: Carlsson et al. 2021, https://openreview.net/forum?id=Ov_sMNau-PF

    Args:
        model: what to train; it becomes the second model, its copy the first.
    """

    inputs = Inputs(("text_a", "text_b"), labels=f"{_SAME}; found out from the tokens if missing")
    citation = citations.TENSION

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.model1 = copy.deepcopy(self.model)

    @property
    def model2(self) -> Any:
        """The model that is kept."""
        return self.model

    def check(self, columns: Sequence[Features], labels: Any) -> None:
        """Labels may be missing."""
        super().check(columns, torch.ones(1) if labels is None else labels)

    def targets(self, columns: Sequence[Features], labels: Any) -> Any:
        """The labels, or which rows have the same tokens in both columns."""
        if labels is not None:
            return labels
        first, second = (tokens(column) for column in columns)
        return torch.tensor([a == b for a, b in zip(first, second, strict=True)])

    def embed_columns(self, columns: Sequence[Features], encode: Encode) -> list[Tensor]:
        """The first column by the copy, the second by the model."""
        return [self.embed(self.model1, columns[0], encode), self.embed(self.model, columns[1], encode)]

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of both texts, each by its model, and n labels."""
        a, b = embeddings
        return contrastive_tension(a, b, labels)


class ContrastiveTensionLossInBatchNegatives(Loss):
    """Two copies of a model must agree on each text, by in-batch ranking with a learned temperature.

    Use: texts alone, one column; no labels, no special data loader. The other copy is thrown away.

    Source: Carlsson et al. 2021, https://openreview.net/forum?id=Ov_sMNau-PF

    Args:
        model: what to train; it becomes the second model, its copy the first.
        scale: the inverse of the temperature at the start.
        similarity_fct: of every row with every row.
    """

    inputs = Inputs(("text",), more="ignored")
    citation = citations.TENSION

    def __init__(
        self, model: Any, scale: float = 20.0, similarity_fct: Callable[[Tensor, Tensor], Tensor] = cos_sim
    ) -> None:
        super().__init__(model)
        if not scale > 0:
            raise ValueError(f"scale must be positive, not {scale}")
        self.model1 = copy.deepcopy(self.model)
        self.similarity_fct = similarity_fct
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def model2(self) -> Any:
        """The model that is kept."""
        return self.model

    def embed_columns(self, columns: Sequence[Features], encode: Encode) -> list[Tensor]:
        """The first column by both models; further ones are ignored."""
        return [self.embed(model, columns[0], encode) for model in (self.model1, self.model)]

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings by both models; labels are ignored."""
        a, b = embeddings
        return contrastive_tension_in_batch(a, b, self.logit_scale.exp().to(a.device), self.similarity_fct)

    def get_config_dict(self) -> dict[str, Any]:
        """The settings; the scale is the present one."""
        return {"scale": self.logit_scale.exp().item(), "similarity_fct": described(self.similarity_fct)}


@dataclass
class Pair:
    """Two texts and whether they are the same: what a collator reads of an `InputExample`."""

    texts: list[str]
    label: int
    guid: str = ""


class ContrastiveTensionDataLoader:
    """Batches for `ContrastiveTensionLoss`: one pair of equal texts to every `pos_neg_ratio - 1` of different ones.

    Every pass shuffles the texts anew and uses each once at most.

    Args:
        sentences: a list of texts; it is left as it is.
        batch_size: pairs in a batch.
        pos_neg_ratio: of how many pairs one is equal.

    Raises:
        ValueError: `batch_size` is not a multiple of `pos_neg_ratio`.
    """

    def __init__(self, sentences: Sequence[str], batch_size: int, pos_neg_ratio: int = 8) -> None:
        if batch_size < 1 or pos_neg_ratio < 1 or batch_size % pos_neg_ratio:
            raise ValueError(
                f"batch_size must be a positive multiple of pos_neg_ratio, but is {batch_size} for {pos_neg_ratio}"
            )
        self.sentences = sentences
        self.batch_size = batch_size
        self.pos_neg_ratio = pos_neg_ratio
        self.collate_fn: Callable[[list[Any]], Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        order = iter(random.sample(range(len(self.sentences)), len(self.sentences)))
        for _ in range(len(self)):
            batch = [self._pair(order, equal=i % self.pos_neg_ratio == 0) for i in range(self.batch_size)]
            yield batch if self.collate_fn is None else self.collate_fn(batch)

    def __len__(self) -> int:
        return len(self.sentences) // (2 * self.batch_size - self.batch_size // self.pos_neg_ratio)

    def _pair(self, order: Iterator[int], equal: bool) -> Pair:
        first = self.sentences[next(order)]
        return Pair([first, first if equal else self.sentences[next(order)]], int(equal))
