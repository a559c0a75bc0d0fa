"""Learning a teacher's scores: their differences, or the distribution that they make."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vicinal.errors import InvalidData, TrainingWarning
from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss
from vicinal.losses.checks import same_shape, scores_a_row
from vicinal.similarity import pairwise_dot_score

Similarity = Callable[[Tensor, Tensor], Tensor]


def candidate_scores(
    queries: Tensor, candidates: Sequence[Tensor], similarity_fct: Similarity = pairwise_dot_score
) -> Tensor:
    """The score of each query with row i of every candidate column.

    Args:
        queries: (n, d).
        candidates: (n, d) each.
        similarity_fct: of row i with row i.

    Returns:
        (n, candidates).

    Raises:
        InvalidData: the shapes differ; all are named.
    """
    same_shape(queries=queries, **{f"candidates[{i}]": column for i, column in enumerate(candidates)})
    return torch.stack([similarity_fct(queries, column) for column in candidates], 1)


def margins(scores: Tensor) -> Tensor:
    """By how much the first score of each row exceeds the others: (n, k) to (n, k - 1)."""
    return scores[:, :1] - scores[:, 1:]


def margin_targets(labels: Any, rows: int, negatives: int) -> Tensor:
    """A teacher's margins, (n, negatives), from margins or from the scores of positive and negatives.

    Raises:
        InvalidData: the labels are neither.
    """
    meaning = f"the teacher's {negatives} margins a row, or its {negatives + 1} scores, the positive's first"
    labels = scores_a_row(labels, rows, negatives, negatives + 1, meaning=meaning)
    return labels if labels.shape[1] == negatives else margins(labels)


def distill_kl_div(
    scores: Tensor, teacher_scores: Tensor, student_temperature: float = 1.0, teacher_temperature: float = 1.0
) -> Tensor:
    """t_s^2 * mean_i KL(softmax(teacher_i / t_t) || softmax(scores_i / t_s)).

    Args:
        scores: (n, k) of the model.
        teacher_scores: (n, k); -inf leaves a candidate out.
        student_temperature, teacher_temperature: t_s, t_t.

    Returns:
        A scalar.

    Source: Lin et al. 2020, arXiv:2010.11386; the factor t_s^2: Hinton et al. 2015, arXiv:1503.02531.
    """
    student = (scores / student_temperature).log_softmax(1)
    teacher = (teacher_scores.detach().to(scores) / teacher_temperature).softmax(1)
    return F.kl_div(student, teacher, reduction="batchmean") * student_temperature**2


class MarginMSELoss(Loss):
    """By how much a positive is better than a negative must be what a teacher says.

    Use: distilling a cross-encoder into an encoder, with mined negatives.

    Source: Hofstätter et al. 2020, arXiv:2010.02666

    Args:
        model: what to train.
        similarity_fct: of row i with row i.
    """

    inputs = Inputs(
        ("query", "positive", "negative"),
        more="negative",
        labels="the teacher's margin of each negative, score(positive) - score(negative), or the scores "
        "of all candidates",
    )
    config = "similarity_fct"
    citation = citations.MARGIN_MSE

    def __init__(self, model: Any, similarity_fct: Similarity = pairwise_dot_score) -> None:
        super().__init__(model)
        self.similarity_fct = similarity_fct
        self.loss_fct = nn.MSELoss()

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of queries, positives, negatives, ..., and labels (n,), (n, k) or
        (n, k + 1)."""
        query, *candidates = embeddings
        wanted = margin_targets(labels, len(query), len(candidates) - 1)
        found = margins(candidate_scores(query, candidates, self.similarity_fct))
        return self.loss_fct(found, wanted.to(found))


class DistillKLDivLoss(Loss):
    """The distribution over a query's candidates must be a teacher's.

    Use: distilling a cross-encoder into an encoder; several negatives a query.

    Source: Lin et al. 2020, arXiv:2010.11386

    Args:
        model: what to train.
        similarity_fct: of row i with row i.
        temperature: of both distributions, unless the next say otherwise; more of it flattens them.
        student_temperature, teacher_temperature: of each.

    Raises:
        ValueError: a temperature is not positive and finite.
    """

    inputs = Inputs(("query", "positive", "negative"), more="negative", labels="the teacher's score of each candidate")
    config = "similarity_fct temperature"
    citation = citations.TIGHTLY_COUPLED

    def __init__(
        self,
        model: Any,
        similarity_fct: Similarity = pairwise_dot_score,
        temperature: float = 1.0,
        student_temperature: float | None = None,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__(model)
        self.similarity_fct = similarity_fct
        self.temperature = temperature
        self.student_temperature = temperature if student_temperature is None else student_temperature
        self.teacher_temperature = temperature if teacher_temperature is None else teacher_temperature
        for name in ("temperature", "student_temperature", "teacher_temperature"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be positive and finite, not {value}")
        self._checked = False

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of queries and k candidates, and (n, k) scores of the teacher."""
        query, *candidates = embeddings
        teacher = scores_a_row(labels, len(query), len(candidates), meaning="the teacher's score of each candidate")
        scores = candidate_scores(query, candidates, self.similarity_fct)
        if not self._checked:  # the first batch alone: looking makes an accelerator wait
            self._checked = True
            _check_teacher(teacher, self.teacher_temperature)
        return distill_kl_div(scores, teacher, self.student_temperature, self.teacher_temperature)

    def get_config_dict(self) -> dict[str, Any]:
        """The settings; a temperature of its own is named where there is one."""
        temperatures = ("student_temperature", "teacher_temperature")
        own = {name: value for name in temperatures if (value := getattr(self, name)) != self.temperature}
        return {**super().get_config_dict(), **own}


def _check_teacher(scores: Tensor, temperature: float) -> None:
    if scores.isnan().any():
        raise InvalidData("the teacher's scores hold nan, and so would the loss and every gradient")
    scores = scores.float()
    if scores.isinf().any():  # a candidate that was left out on purpose
        return
    lost = int(((scores / temperature).softmax(1) == 0).sum())
    if lost:
        width = float((scores.amax(1) - scores.amin(1)).max())
        warnings.warn(
            f"the teacher's scores differ by up to {width:.4g} within a row, so that at "
            f"teacher_temperature={temperature} "
            f"{lost} of {scores.numel()} candidates have probability 0 and teach nothing: raise it above "
            f"{width / 100:.3g}",
            TrainingWarning,
            stacklevel=3,
        )
