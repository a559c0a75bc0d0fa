"""Losses in which every pair of texts has a label, or a query's candidates the scores of a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vicinal.cross_encoder.losses.base import PairLoss, zipped
from vicinal.errors import InvalidData
from vicinal.losses import citations
from vicinal.losses.base import IDENTITY, Inputs
from vicinal.losses.checks import label_a_row
from vicinal.losses.distillation import margin_targets, margins


class BinaryCrossEntropyLoss(PairLoss):
    """A pair must be told right from wrong: -[y log p + (1 - y) log(1 - p)], p = sigmoid(logit).

    Use: (query, document) pairs labelled 1 or 0, or with a degree between; the first choice for rerankers.

    Source: the logistic loss; for rerankers Nogueira and Cho 2019, arXiv:1901.04085

    Args:
        model: what to train, with one label.
        activation_fn: applied to logits first.
        pos_weight: of pairs with label 1, such as the number of negatives to each.
        kwargs: for `torch.nn.BCEWithLogitsLoss`.
    """

    inputs = Inputs(("text_a", "text_b"), labels="a number from 0 to 1 a pair")

    def __init__(self, model: Any, activation_fn: Any = IDENTITY, pos_weight: Any = None, **kwargs: Any) -> None:
        super().__init__(model, activation_fn)
        self.pos_weight = pos_weight
        self.bce_with_logits_loss = nn.BCEWithLogitsLoss(pos_weight=pos_weight, **kwargs)

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Tensor:
        """The loss of pairs."""
        logits = self.activation_fn(self.logits(zipped(inputs), options).squeeze(1))
        wanted = label_a_row(labels, logits, "a number from 0 to 1 a pair").to(logits.dtype)
        return self.bce_with_logits_loss.to(logits.device)(logits, wanted)

    def get_config_dict(self) -> dict[str, Any]:
        """The settings."""
        weight = self.pos_weight.item() if isinstance(self.pos_weight, Tensor) else self.pos_weight
        return {**super().get_config_dict(), "pos_weight": weight}


class CrossEntropyLoss(PairLoss):
    """A pair must be told its class.

    Use: pairs with a class each, such as NLI; `num_labels` of the model is the number of classes.

    Source: Reimers and Gurevych 2019, arXiv:1908.10084, as the cross-encoder compared with

    Args:
        model: what to train.
        activation_fn: applied to logits first.
        kwargs: for `torch.nn.CrossEntropyLoss`.
    """

    inputs = Inputs(("text_a", "text_b"), labels="the class of each pair, an integer from 0")

    def __init__(self, model: Any, activation_fn: Any = IDENTITY, **kwargs: Any) -> None:
        super().__init__(model, activation_fn, one_label=False)
        self.ce_loss = nn.CrossEntropyLoss(**kwargs)

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Tensor:
        """The loss of pairs."""
        logits = self.activation_fn(self.logits(zipped(inputs), options))
        if not labels.is_floating_point():
            labels = label_a_row(labels, logits, "the class of each pair")
        elif labels.shape != logits.shape:
            raise InvalidData(
                f"expected a class a pair (integers) or probabilities of shape {tuple(logits.shape)}, but got "
                f"labels of "
                f"shape {tuple(labels.shape)}, {labels.dtype}"
            )
        return self.ce_loss.to(logits.device)(logits, labels.to(logits.device))


class MSELoss(PairLoss):
    """A pair's score must be its label: the mean of (score - y)^2.

    Use: pairs with a teacher's score each.

    Source: Hofstätter et al. 2020, arXiv:2010.02666, section 3

    Args:
        model: what to train, with one label.
        activation_fn: applied to logits first.
        kwargs: for `torch.nn.MSELoss`.
    """

    inputs = Inputs(("text_a", "text_b"), labels="the score wanted of each pair")

    def __init__(self, model: Any, activation_fn: Any = IDENTITY, **kwargs: Any) -> None:
        super().__init__(model, activation_fn)
        self.loss_fct = nn.MSELoss(**kwargs)

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Tensor:
        """The loss of pairs."""
        scores = self.activation_fn(self.logits(zipped(inputs), options).squeeze(1))
        return self.loss_fct(scores, label_a_row(labels, scores, "the score wanted of each pair").to(scores.dtype))


class MarginMSELoss(PairLoss):
    """By how much a positive is better than a negative must be what a teacher says.

    Use: distilling a stronger reranker, with mined negatives.

    Source: Hofstätter et al. 2020, arXiv:2010.02666

    Args:
        model: what to train, with one label.
        activation_fn: applied to logits first.
        kwargs: for `torch.nn.MSELoss`.
    """

    inputs = Inputs(
        ("query", "positive", "negative"),
        more="negative",
        labels="the teacher's margin of each negative, score(positive) - score(negative), or the scores "
        "of all candidates",
    )
    citation = citations.MARGIN_MSE

    def __init__(self, model: Any, activation_fn: Any = IDENTITY, **kwargs: Any) -> None:
        super().__init__(model, activation_fn)
        self.loss_fct = nn.MSELoss(**kwargs)

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Tensor:
        """The loss of a query's candidates."""
        queries, *candidates = inputs
        wanted = margin_targets(labels, len(queries), len(candidates) - 1)
        columns = [self.logits(zipped([queries, column]), options).squeeze(1) for column in candidates]
        found = margins(self.activation_fn(torch.stack(columns, 1)))
        return self.loss_fct(found, wanted.to(found))
