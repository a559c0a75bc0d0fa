"""Learning a teacher's embeddings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vicinal.errors import DimensionMismatch, InvalidData
from vicinal.losses import citations
from vicinal.losses.base import Inputs, Loss, device_of, unwrapped
from vicinal.losses.features import Features
from vicinal.similarity import pairwise_cos_sim, pairwise_euclidean_sim

Metric = Literal["mse", "l2", "cosine"]
_LABELS = "the teacher's embedding of each row, one for all columns or one a column"


def embedding_distance(embeddings: Tensor, teacher: Tensor, distance_metric: Metric = "cosine") -> Tensor:
    """How far embeddings are from a teacher's.

    Args:
        embeddings, teacher: (n, d).
        distance_metric: "mse" is the mean of (x - t)^2 over rows and dimensions, "l2" the mean of |x_i - t_i|, "cosine"
            the mean of 1 - cos(x_i, t_i).

    Returns:
        A scalar.

    Raises:
        InvalidData: the shapes differ; both are named.

    Source: Kim et al. 2023, arXiv:2301.12005.
    """
    if embeddings.shape != teacher.shape:
        raise InvalidData(
            f"the model's embeddings have shape {tuple(embeddings.shape)} and the teacher's {tuple(teacher.shape)}: "
            "projection_dim= learns a map where the widths differ"
        )
    if distance_metric == "mse":
        return F.mse_loss(embeddings, teacher)
    if distance_metric == "l2":
        return -pairwise_euclidean_sim(embeddings, teacher).mean()
    return 1 - pairwise_cos_sim(embeddings, teacher).mean()


class EmbedDistillLoss(Loss):
    """Embeddings must be a teacher's, or a learned linear map of them must.

    Use: making a smaller or a multilingual model from a good one whose embeddings were computed beforehand.

    Source: Kim et al. 2023, arXiv:2301.12005

    Args:
        model: what to train.
        distance_metric: "mse", "l2" or "cosine"; see `embedding_distance`.
        projection_dim: the teacher's width, if it is another: a linear map to it is learned, and thrown away afterwards
            unless `save_projection` keeps it.

    Raises:
        ValueError: there is no such metric.
    """

    inputs = Inputs(("text",), more="text", labels=_LABELS)
    config = "distance_metric projection_dim"
    citation = citations.EMBED_DISTILL

    def __init__(self, model: Any, distance_metric: Metric = "cosine", projection_dim: int | None = None) -> None:
        super().__init__(model)
        if distance_metric not in ("mse", "l2", "cosine"):
            raise ValueError(f"distance_metric must be 'mse', 'l2' or 'cosine', not {distance_metric!r}")
        self.distance_metric = distance_metric
        self.projection_dim = projection_dim
        self.projection: Any = None
        if projection_dim is not None:
            width = unwrapped(self.model).get_embedding_dimension()
            self.projection = nn.Linear(width, projection_dim, device=device_of(self.model))

    def targets(self, columns: Sequence[Features], labels: Any) -> list[Tensor]:
        """The teacher's embeddings of each column, (n, e) each."""
        if not isinstance(labels, Tensor) or labels.ndim not in (2, 3):
            told = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
            raise InvalidData(f"expected labels (n, e) or (n, {len(columns)}, e) ({_LABELS}), but got {told}")
        if labels.ndim == 2:
            return [labels] * len(columns)
        if labels.shape[1] != len(columns):
            raise InvalidData(
                f"labels of shape {tuple(labels.shape)} are for {labels.shape[1]} columns of texts, but there are "
                f"{len(columns)}: expected (n, {len(columns)}, e), or (n, e) for all columns"
            )
        return list(labels.unbind(1))

    def narrowed(self, targets: Any, dim: int) -> Any:
        """The teacher's leading dimensions, where it has as many as the model."""
        width = unwrapped(self.model).get_embedding_dimension()
        return [target[:, :dim] if target.shape[1] == width else target for target in targets]

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Any = None) -> Tensor:
        """The mean over columns of (n, d) embeddings; `labels` are the teacher's, (n, e) each."""
        losses = []
        for column, teacher in zip(embeddings, labels, strict=True):
            mapped = self._mapped(column)
            losses.append(embedding_distance(mapped, teacher.detach().to(mapped), self.distance_metric))
        return torch.stack(losses).mean()

    def _mapped(self, embeddings: Tensor) -> Tensor:
        if self.projection is None:
            return embeddings
        if embeddings.shape[1] != self.projection.in_features:
            raise InvalidData(
                f"projection_dim maps whole embeddings ({self.projection.in_features} dimensions), not their first "
                f"{embeddings.shape[1]}: it does not go with MatryoshkaLoss"
            )
        return self.projection(embeddings.to(self.projection.weight.dtype))

    def save_projection(self, path: str | os.PathLike[str]) -> None:
        """Write the learned map as safetensors.

        Raises:
            ValueError: there is none.
        """
        from safetensors.torch import save_model

        if self.projection is None:
            raise ValueError("there is no projection to save; one is learned where projection_dim is given")
        save_model(self.projection, os.fspath(path))

    def load_projection(self, path: str | os.PathLike[str]) -> None:
        """Take a map that `save_projection` wrote.

        Raises:
            DimensionMismatch: it maps from or to other widths.
        """
        from safetensors.torch import load_file

        state = load_file(os.fspath(path))
        made, read = state["weight"].shape
        width = unwrapped(self.model).get_embedding_dimension()
        if read != width or self.projection_dim not in (None, made):
            raise DimensionMismatch(
                f"the projection in {os.fspath(path)} maps {read} dimensions to {made}, but this loss needs {width} "
                f"to {'any' if self.projection_dim is None else self.projection_dim}"
            )
        if self.projection is None:
            self.projection = nn.Linear(read, made, device=device_of(self.model))
            self.projection_dim = made
        self.projection.load_state_dict(state)


class MSELoss(EmbedDistillLoss):
    """`EmbedDistillLoss` by the mean squared error.

    Use: as that loss; (English, translation) columns with the teacher's embedding of the English text make a
        multilingual model.

    Source: Reimers and Gurevych 2020, arXiv:2004.09813

    Args:
        model: what to train.
        projection_dim: as there.
    """

    config = "projection_dim"
    citation = citations.MULTILINGUAL

    def __init__(self, model: Any, projection_dim: int | None = None) -> None:
        super().__init__(model, "mse", projection_dim)
