"""Ranking within the batch, false negatives left out: a guide model says which candidates are too good to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from vicinal.losses import citations
from vicinal.losses.base import Caching, Inputs, Loss
from vicinal.losses.checks import same_shape
from vicinal.losses.features import Features
from vicinal.losses.gather import gathered
from vicinal.losses.gradcache import mean_over_rows
from vicinal.losses.guide import Guide
from vicinal.similarity import cos_sim

Margin = Literal["absolute", "relative"]


def guided_ranking(
    anchors: Tensor,
    candidates: Sequence[Tensor],
    guide_anchors: Tensor,
    guide_candidates: Sequence[Tensor],
    temperature: float = 0.01,
    margin_strategy: Margin = "absolute",
    margin: float = 0.0,
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
    rows: range | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Cross-entropy of finding each anchor's positive, over candidates that the guide does not find better than it.

    With s and g the cosines of the model and of the guide, and p_i the positive of anchor a_i:
    mean_i [log sum_x exp(s_ix / t) - s(a_i, p_i) / t], x over p_i and every other candidate whose g does not exceed
    g(a_i, p_i) - margin ("absolute") or g(a_i, p_i) - margin * |g(a_i, p_i)| ("relative").

    Args:
        anchors: (n, d).
        candidates: (n, d) each: row i of the first is the positive of anchor i; the others are negatives.
        guide_anchors: (n, e), the guide's embeddings of the anchors.
        guide_candidates: (n, e) each, of the candidates.
        temperature: t.
        contrast_anchors: the other anchors are candidates too: s(a_i, a_j).
        contrast_positives: positives are held against each other: s(p_i, p_j).
        rows: whose anchors count; None for all. The others' serve as candidates.
        chunk: how many rows of scores to hold at a time; None for all.

    Returns:
        A scalar.

    Raises:
        InvalidData: the shapes differ; all are named.

    Source: Solatorio 2024, arXiv:2402.16829.
    """
    same_shape(anchors=anchors, **{f"candidates[{i}]": column for i, column in enumerate(candidates)})
    same_shape(guide_anchors=guide_anchors, **{f"guide_candidates[{i}]": c for i, c in enumerate(guide_candidates)})
    count = len(anchors)

    def row_losses(part: range) -> Tensor:
        mine = slice(part.start, part.stop)
        at = torch.arange(part.start, part.stop, device=anchors.device)[:, None]
        own = at == torch.arange(count, device=anchors.device)
        bound = cos_sim(guide_anchors[mine], guide_candidates[0]).gather(1, at)
        bound = bound - margin * (bound.abs() if margin_strategy == "relative" else 1.0)
        nothing = torch.zeros_like(own)
        # Rows against columns, as model and guide have them, then which to keep and which to leave out whatever g says.
        grids = [(anchors, candidates[0], guide_anchors, guide_candidates[0], own, nothing)]
        if contrast_anchors:
            grids.append((anchors, anchors, guide_anchors, guide_anchors, nothing, own))
        if contrast_positives:
            grids.append((candidates[0], candidates[0], guide_candidates[0], guide_candidates[0], nothing, own))
        for column, guided in zip(candidates[1:], guide_candidates[1:], strict=True):
            grids.append((anchors, column, guide_anchors, guided, nothing, nothing))
        scores = []
        for left, right, guide_left, guide_right, kept, left_out in grids:
            too_good = cos_sim(guide_left[mine], guide_right) > bound
            score = cos_sim(left[mine], right) / temperature
            scores.append(score.masked_fill((too_good & ~kept) | left_out, -torch.inf))
        return torch.cat(scores, 1).logsumexp(1) - scores[0].gather(1, at).squeeze(1)

    return mean_over_rows(row_losses, range(count) if rows is None else rows, chunk)


class GISTEmbedLoss(Loss):
    """`MultipleNegativesRankingLoss` without false negatives: a guide model leaves out candidates that fit too well.

    Use: pairs from noisy or repetitive data, where another row's positive is often right as well.

    Source: Solatorio 2024, arXiv:2402.16829

    Args:
        model: what to train.
        guide: a SentenceTransformer that is not trained; its tokenizer may be another.
        temperature: scores are divided by it.
        margin_strategy, margin, contrast_anchors, contrast_positives: see `guided_ranking`.
        gather_across_devices: candidates come from the batches of all processes.

    Raises:
        ValueError: a setting is none of those.
        InvalidData: the guide has another tokenizer, and the model's cannot say what the texts were.
    """

    inputs = Inputs(("anchor", "positive"), more="negative")
    config = "guide temperature margin_strategy margin contrast_anchors contrast_positives gather_across_devices"
    citation = citations.GIST

    def __init__(
        self,
        model: Any,
        guide: Any,
        temperature: float = 0.01,
        margin_strategy: Margin = "absolute",
        margin: float = 0.0,
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__(model)
        if margin_strategy not in ("absolute", "relative"):
            raise ValueError(f"margin_strategy must be 'absolute' or 'relative', not {margin_strategy!r}")
        self._guide = Guide(guide, self.model)
        self.temperature = temperature
        self.margin_strategy = margin_strategy
        self.margin = margin
        self.contrast_anchors = contrast_anchors
        self.contrast_positives = contrast_positives
        self.gather_across_devices = gather_across_devices

    @property
    def guide(self) -> Any:
        """The model that says which candidates to leave out."""
        return self._guide.given

    def targets(self, columns: Sequence[Features], labels: Any) -> list[Tensor]:
        """The guide's embeddings of every column; labels are ignored."""
        return [self._guide.embed(column, self.caching) for column in columns]

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of anchors, positives, negatives, ...; `labels` are the guide's, (n, e)
        each."""
        columns, guided, rows = list(embeddings), list(labels), range(len(embeddings[0]))
        if self.gather_across_devices:
            columns, rows = gathered(columns)
            guided, _ = gathered(guided)
        return guided_ranking(
            columns[0],
            columns[1:],
            guided[0],
            guided[1:],
            self.temperature,
            self.margin_strategy,
            self.margin,
            self.contrast_anchors,
            self.contrast_positives,
            rows,
            self.chunk,
        )


class CachedGISTEmbedLoss(GISTEmbedLoss):
    """`GISTEmbedLoss` for batches of any size: the memory is that of a mini-batch.

    Use: as that loss, where its batch does not fit in memory.

    Source: Solatorio 2024, arXiv:2402.16829; Gao et al. 2021, arXiv:2101.06983

    Args:
        mini_batch_size, mini_batch_num_tokens, show_progress_bar: see `CachedMultipleNegativesRankingLoss`.
        model, guide, temperature, ...: as there.
    """

    config = (
        "guide temperature mini_batch_size mini_batch_num_tokens margin_strategy margin contrast_anchors "
        "contrast_positives gather_across_devices"
    )

    def __init__(
        self,
        model: Any,
        guide: Any,
        temperature: float = 0.01,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        show_progress_bar: bool = False,
        margin_strategy: Margin = "absolute",
        margin: float = 0.0,
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__(
            model,
            guide,
            temperature,
            margin_strategy,
            margin,
            contrast_anchors,
            contrast_positives,
            gather_across_devices,
        )
        self.caching = Caching(mini_batch_size, mini_batch_num_tokens, show_progress_bar)
