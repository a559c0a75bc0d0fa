"""Losses that are not vicinal's own, made to take embeddings, so that the wrappers work over them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from vicinal.errors import UnsupportedModel
from vicinal.losses.base import Encode, Loss, Value, full, unwrapped
from vicinal.losses.features import Features


@dataclass(frozen=True)
class Given:
    """What a loss of another kind is called with."""

    columns: Sequence[Features]
    labels: Any


class Other:
    """A loss of another kind, with the steps that a wrapper calls of a `Loss`.

    It is asked by `compute_loss_from_embeddings` if it has that, else by calling it while the model, instead of
    running, returns the embeddings that it is to see.

    Raises:
        UnsupportedModel: it runs the model again in its backward pass.
    """

    def __init__(self, loss: nn.Module, model: Any) -> None:
        if getattr(loss, "uses_gradient_cache", False):
            raise UnsupportedModel(
                f"{type(loss).__name__} runs the model itself in its backward pass, where no wrapper reaches it: "
                "use vicinal's loss of that name"
            )
        self.loss, self.model = loss, model

    def check(self, columns: Sequence[Features], labels: Any) -> None:
        """It checks for itself."""

    def targets(self, columns: Sequence[Features], labels: Any) -> Given:
        return Given(columns, labels)

    def encode(self, model: Any, features: Features) -> Tensor:
        return full(model(dict(features))["sentence_embedding"])

    def embed_columns(self, columns: Sequence[Features], encode: Encode) -> list[Tensor]:
        return [encode(self.model, column) for column in columns]

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], given: Given) -> Value:
        if hasattr(self.loss, "compute_loss_from_embeddings"):
            return self.loss.compute_loss_from_embeddings(list(embeddings), given.labels)
        with _returning(self.model, given.columns, embeddings):
            return self.loss(list(given.columns), given.labels)

    def narrowed(self, given: Given, dim: int) -> Given:
        """Labels whose last axis is as long as an embedding are taken for embeddings, and cut."""
        labels = given.labels
        width = unwrapped(self.model).get_embedding_dimension()
        if isinstance(labels, Tensor) and labels.ndim in (2, 3) and labels.shape[-1] == width:
            return Given(given.columns, labels[..., :dim])
        return given


def wrapped(loss: Any, model: Any) -> Loss | Other:
    """The loss, with the steps of a `Loss`."""
    return loss if isinstance(loss, Loss) else Other(loss, model)


@contextmanager
def _returning(model: Any, columns: Sequence[Features], embeddings: Sequence[Tensor]) -> Iterator[None]:
    """Let the model answer each column with its embeddings."""

    def answer(features: Features, **options: Any) -> Features:
        for column, embedding in zip(columns, embeddings, strict=True):
            if any(features.get(key) is value for key, value in column.items() if isinstance(value, Tensor)):
                return {**features, "sentence_embedding": embedding}
        raise UnsupportedModel(
            "the wrapped loss calls the model with features that are none of its columns: give it a method "
            "compute_loss_from_embeddings(embeddings, labels), which is called instead"
        )

    with _replaced(model, answer):
        yield


@contextmanager
def _replaced(model: Any, forward: Callable[..., Features]) -> Iterator[None]:
    """The one place that replaces a method: a loss of another kind can be reached by the model's call alone."""
    before = vars(model).get("forward")
    model.forward = forward
    try:
        yield
    finally:
        if before is None:
            del model.forward
        else:
            model.forward = before
