"""Errors for embeddings and labels whose shapes do not fit, in one wording."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vicinal.errors import InvalidData


def same_shape(**embeddings: Tensor) -> None:
    """Raise InvalidData, naming all shapes, unless all are (n, d) with one n and one d."""
    shapes = {name: tuple(tensor.shape) for name, tensor in embeddings.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        named = ", ".join(f"{name} has shape {shape}" for name, shape in shapes.items())
        raise InvalidData(f"row i belongs with row i, so every column must be (n, d) alike, but {named}")


def label_a_row(labels: Any, embeddings: Tensor, meaning: str = "one a row") -> Tensor:
    """The labels as (n,) numbers, beside the embeddings.

    Raises:
        InvalidData: there is not one for each row.
    """
    rows = len(embeddings)
    if not isinstance(labels, Tensor) or labels.numel() != rows:
        raise InvalidData(f"expected {rows} labels ({meaning}), but got {_told(labels)}")
    labels = labels.reshape(-1).to(embeddings.device)
    return labels.long() if labels.dtype == torch.bool else labels


def scores_a_row(labels: Any, rows: int, *widths: int, meaning: str) -> Tensor:
    """The labels as (rows, k) with k one of `widths`; (rows,) counts as (rows, 1), a list of rows is stacked.

    Raises:
        InvalidData: their shape is another.
    """
    if isinstance(labels, (list, tuple)) and len({tuple(row.shape) for row in labels if isinstance(row, Tensor)}) == 1:
        labels = torch.stack(list(labels))
    if isinstance(labels, Tensor) and labels.shape == (rows,):
        labels = labels.unsqueeze(1)
    if not isinstance(labels, Tensor) or labels.shape not in [(rows, width) for width in widths]:
        shapes = " or ".join(str((rows, width)) for width in widths)
        raise InvalidData(f"expected labels of shape {shapes} ({meaning}), but got {_told(labels)}")
    return labels.detach()


def _told(labels: Any) -> str:
    if isinstance(labels, Tensor):
        return f"{labels.numel()} of shape {tuple(labels.shape)}, {labels.dtype}"
    return f"{type(labels).__name__} {labels!r}"
