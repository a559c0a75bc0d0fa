"""Ranking within the batch: each anchor must find its own positive among everyone's candidates."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from vicinal.errors import TrainingWarning
from vicinal.losses import citations
from vicinal.losses.base import Caching, Inputs, Loss
from vicinal.losses.checks import same_shape
from vicinal.losses.gather import gathered
from vicinal.losses.gradcache import mean_over_rows
from vicinal.similarity import cos_sim

Direction = Literal["query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc"]
Partition = Literal["joint", "per_direction"]
Hardness = Literal["in_batch_negatives", "hard_negatives", "all_negatives"]
Similarity = Callable[[Tensor, Tensor], Tensor]

_DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
_HARDNESS = ("in_batch_negatives", "hard_negatives", "all_negatives")
_SYMMETRIC: tuple[Direction, ...] = ("query_to_doc", "doc_to_query")


def in_batch_ranking(
    queries: Tensor,
    documents: Sequence[Tensor],
    scale: float = 20.0,
    similarity_fct: Similarity = cos_sim,
    directions: Sequence[Direction] = ("query_to_doc",),
    partition_mode: Partition = "joint",
    hardness_mode: Hardness | None = None,
    hardness_strength: float = 0.0,
    rows: range | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Cross-entropy of finding each query's own document: mean_i [log Z_i - s(q_i, d_i)], s = scale * similarity.

    Z_i sums exp(s) over what query i or its document d_i is compared with, by direction:

    - query_to_doc: s(q_i, every document), those of other queries and hard negatives among them;
    - query_to_query: s(q_i, every other query);
    - doc_to_query: s(every query, d_i);
    - doc_to_doc: s(every document of other queries, d_i).

    Args:
        queries: (n, d).
        documents: (n, d) each: row i of the first answers query i, row i of the others are its hard negatives.
        scale: the inverse of the temperature.
        similarity_fct: of every row with every row.
        directions: what to compare.
        partition_mode: "joint" has one Z over all directions; "per_direction" has one each, and log Z is their mean.
        hardness_mode: whose s(q_i, d) grows by `hardness_strength` times their similarity, taken as a constant, so that
            similar ones weigh more: documents of other queries ("in_batch_negatives"), the query's own hard negatives,
            or both.
        rows: whose queries count; None for all. The others' serve as candidates.
        chunk: how many rows of scores to hold at a time; None for all.

    Returns:
        A scalar.

    Raises:
        InvalidData: the shapes differ; all are named.

    Source: Henderson et al. 2017, arXiv:1705.00652; van den Oord et al. 2018, arXiv:1807.03748. All directions, joint:
    Li et al. 2023, arXiv:2308.03281. Hardness: Lan et al. 2025, arXiv:2503.04812.

    Example:
        >>> queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> round(in_batch_ranking(queries, [queries], scale=1.0).item(), 4)  # log(1 + exp(-1))
        0.3133
    """
    same_shape(queries=queries, **{f"documents[{i}]": document for i, document in enumerate(documents)})
    everything = torch.cat(list(documents))
    count = len(queries)
    first = torch.arange(len(everything), device=queries.device) < count

    def row_losses(part: range) -> Tensor:
        mine = slice(part.start, part.stop)
        query, document = queries[mine], documents[0][mine]
        at = torch.arange(part.start, part.stop, device=queries.device)[:, None]
        own = at == torch.arange(count, device=queries.device)
        own_documents = own.repeat(1, len(documents))
        forward = similarity_fct(query, everything)
        scores = {"query_to_doc": forward * scale}
        if hardness_mode is not None and hardness_strength > 0:
            harder = {
                "in_batch_negatives": ~own_documents,
                "hard_negatives": own_documents & ~first,
                "all_negatives": ~(own_documents & first),
            }[hardness_mode]
            scores["query_to_doc"] = scores["query_to_doc"] + hardness_strength * (forward.detach() * harder)
        if "query_to_query" in directions:
            scores["query_to_query"] = (similarity_fct(query, queries) * scale).masked_fill(own, -torch.inf)
        if "doc_to_query" in directions:
            scores["doc_to_query"] = similarity_fct(queries, document).T * scale
        if "doc_to_doc" in directions:
            scores["doc_to_doc"] = (similarity_fct(everything, document).T * scale).masked_fill(
                own_documents, -torch.inf
            )
        if partition_mode == "joint":
            log_z = torch.cat(list(scores.values()), 1).logsumexp(1)
        else:
            log_z = torch.stack([score.logsumexp(1) for score in scores.values()]).mean(0)
        return log_z - scores["query_to_doc"].gather(1, at).squeeze(1)

    return mean_over_rows(row_losses, range(count) if rows is None else rows, chunk)


class MultipleNegativesRankingLoss(Loss):
    """Each anchor must find its positive among all positives and negatives of the batch (InfoNCE).

    Use: (question, answer), (query, passage) or paraphrase pairs, with or without mined hard negatives; the first
        choice for retrieval. Large batches help; a batch must not hold the same text twice.

    Source: Henderson et al. 2017, arXiv:1705.00652; van den Oord et al. 2018, arXiv:1807.03748

    Args:
        model: what to train.
        scale: the inverse of the temperature; more of it sharpens the ranking.
        similarity_fct: of every row with every row: `util.cos_sim`, `util.dot_score`, ...
        gather_across_devices: candidates come from the batches of all processes.
        directions, partition_mode, hardness_mode, hardness_strength: see `in_batch_ranking`. "query_to_doc" must be one
            of the directions. ("query_to_doc", "doc_to_query") with "per_direction" is the symmetric form.

    Raises:
        ValueError: a setting is none of those, or they do not go together.
    """

    inputs = Inputs(("anchor", "positive"), more="negative")
    config = "scale similarity_fct gather_across_devices directions partition_mode hardness_mode hardness_strength"

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity_fct: Similarity = cos_sim,
        gather_across_devices: bool = False,
        directions: tuple[Direction, ...] = ("query_to_doc",),
        partition_mode: Partition = "joint",
        hardness_mode: Hardness | None = None,
        hardness_strength: float = 0.0,
    ) -> None:
        super().__init__(model)
        _check(scale, directions, partition_mode, hardness_mode, hardness_strength)
        self.scale = scale
        self.similarity_fct = similarity_fct
        self.gather_across_devices = gather_across_devices
        self.directions = tuple(directions)
        self.partition_mode = partition_mode
        self.hardness_mode = hardness_mode
        self.hardness_strength = hardness_strength

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The loss of (n, d) embeddings of anchors, positives, negatives, ...; labels are ignored."""
        columns, rows = list(embeddings), range(len(embeddings[0]))
        if self.gather_across_devices:
            columns, rows = gathered(columns)
        return in_batch_ranking(
            columns[0],
            columns[1:],
            self.scale,
            self.similarity_fct,
            self.directions,
            self.partition_mode,
            self.hardness_mode,
            self.hardness_strength,
            rows,
            self.chunk,
        )

    @property
    def temperature(self) -> float:
        """The inverse of the scale."""
        return 1.0 / self.scale

    @property
    def citation(self) -> str:  # type: ignore[override]
        """BibTeX of where this form of the loss comes from."""
        if set(self.directions) == set(_DIRECTIONS) and self.partition_mode == "joint":
            return citations.GTE
        if set(self.directions) == set(_SYMMETRIC) and self.partition_mode == "per_direction":
            return citations.JINA2
        return citations.INFONCE


class MultipleNegativesSymmetricRankingLoss(MultipleNegativesRankingLoss):
    """Anchors must find their positives, and positives their anchors; the mean of both.

    The same as `MultipleNegativesRankingLoss` with directions=("query_to_doc", "doc_to_query") and
    partition_mode="per_direction".

    Use: pairs in which either side may be the query, such as paraphrases or translations.

    Source: Günther et al. 2023, arXiv:2310.19923
    """

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity_fct: Similarity = cos_sim,
        gather_across_devices: bool = False,
    ) -> None:
        super().__init__(model, scale, similarity_fct, gather_across_devices, _SYMMETRIC, "per_direction")


class CachedMultipleNegativesRankingLoss(MultipleNegativesRankingLoss):
    """`MultipleNegativesRankingLoss` for batches of any size: the memory is that of a mini-batch.

    Use: as that loss, where its batch does not fit in memory. The result is the same; a step takes about a third
    longer.

    Source: Gao et al. 2021, arXiv:2101.06983

    Args:
        mini_batch_size: how many texts to embed, and how many rows of scores to hold, at a time; speed and memory alone
            depend on it.
        mini_batch_num_tokens: embed this many tokens, padding counted, at a time instead.
        show_progress_bar: one for the mini-batches of each step.
        model, scale, ...: as there.
    """

    config = (
        "scale similarity_fct mini_batch_size mini_batch_num_tokens gather_across_devices directions "
        "partition_mode hardness_mode hardness_strength"
    )
    citation = citations.GRADCACHE

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity_fct: Similarity = cos_sim,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        gather_across_devices: bool = False,
        directions: tuple[Direction, ...] = ("query_to_doc",),
        partition_mode: Partition = "joint",
        show_progress_bar: bool = False,
        hardness_mode: Hardness | None = None,
        hardness_strength: float = 0.0,
    ) -> None:
        super().__init__(
            model,
            scale,
            similarity_fct,
            gather_across_devices,
            directions,
            partition_mode,
            hardness_mode,
            hardness_strength,
        )
        self.caching = Caching(mini_batch_size, mini_batch_num_tokens, show_progress_bar)


class CachedMultipleNegativesSymmetricRankingLoss(CachedMultipleNegativesRankingLoss):
    """`MultipleNegativesSymmetricRankingLoss` for batches of any size: the memory is that of a mini-batch.

    Use: as that loss, where its batch does not fit in memory.

    Source: Gao et al. 2021, arXiv:2101.06983
    """

    def __init__(
        self,
        model: Any,
        scale: float = 20.0,
        similarity_fct: Similarity = cos_sim,
        mini_batch_size: int = 32,
        mini_batch_num_tokens: int | None = None,
        gather_across_devices: bool = False,
        show_progress_bar: bool = False,
    ) -> None:
        super().__init__(
            model,
            scale,
            similarity_fct,
            mini_batch_size,
            mini_batch_num_tokens,
            gather_across_devices,
            _SYMMETRIC,
            "per_direction",
            show_progress_bar,
        )


def _check(
    scale: float,
    directions: Sequence[str],
    partition_mode: str,
    hardness_mode: str | None,
    hardness_strength: float,
) -> None:
    if not scale > 0:
        raise ValueError(f"scale must be positive, not {scale}")
    if unknown := sorted(set(directions) - set(_DIRECTIONS)):
        raise ValueError(f"{unknown} are no directions: use some of {list(_DIRECTIONS)}")
    if "query_to_doc" not in directions:
        raise ValueError(f"directions must have 'query_to_doc', which holds the positive, but are {tuple(directions)}")
    if partition_mode not in ("joint", "per_direction"):
        raise ValueError(f"partition_mode must be 'joint' or 'per_direction', not {partition_mode!r}")
    without = [name for name in directions if name in ("query_to_query", "doc_to_doc")]
    if partition_mode == "per_direction" and without:
        raise ValueError(
            f"partition_mode='per_direction' needs the positive in every direction, and {without} do not have it: "
            "use partition_mode='joint'"
        )
    if hardness_mode is not None and hardness_mode not in _HARDNESS:
        raise ValueError(f"hardness_mode must be None or one of {list(_HARDNESS)}, not {hardness_mode!r}")
    if hardness_strength < 0:
        raise ValueError(f"hardness_strength must not be negative, but is {hardness_strength}")
    if hardness_mode is not None and hardness_strength == 0:
        warnings.warn(
            f"hardness_mode={hardness_mode!r} does nothing while hardness_strength is 0", TrainingWarning, stacklevel=3
        )
