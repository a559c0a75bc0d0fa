"""Trains cross-encoders: the same trainer, over pairs as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from vicinal.cross_encoder import CrossEncoder
from vicinal.cross_encoder.losses import BinaryCrossEntropyLoss, CrossEntropyLoss
from vicinal.training.arguments import CrossEncoderTrainingArguments
from vicinal.training.collator import DATASET, CrossEncoderDataCollator
from vicinal.training.trainer import SentenceTransformerTrainer


class CrossEncoderTrainer(SentenceTransformerTrainer):
    """Trains a model that scores pairs. Arguments are those of `SentenceTransformerTrainer`.

    Columns of texts go to the loss as they are, in their order; a column of lists holds a query's documents. Without
    a loss: BinaryCrossEntropyLoss for a model of one label, else CrossEntropyLoss.
    """

    model_class: ClassVar[type[Any]] = CrossEncoder
    arguments_class: ClassVar[type[Any]] = CrossEncoderTrainingArguments
    collator_class: ClassVar[type[Any]] = CrossEncoderDataCollator

    def get_default_loss(self, model: Any) -> Any:
        """The loss where none is given."""
        return BinaryCrossEntropyLoss(model) if model.num_labels == 1 else CrossEntropyLoss(model)

    def collect_features(self, inputs: Mapping[str, Any]) -> tuple[list[Any], Any]:
        """A batch as columns of texts, and the labels."""
        columns = [value for key, value in inputs.items() if key not in ("label", "prompt", DATASET)]
        return columns, inputs.get("label")

    def _value(self, loss: Any, inputs: Any) -> Any:
        columns, labels = self.collect_features(inputs)
        options = {"prompt": inputs["prompt"]} if inputs.get("prompt") else {}
        return loss(columns, labels, **options)
