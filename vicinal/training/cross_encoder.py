"""Trains cross-encoders: the same trainer, over pairs as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from vicinal.cross_encoder import CrossEncoder
from vicinal.cross_encoder.losses import BinaryCrossEntropyLoss, CrossEntropyLoss
from vicinal.cross_encoder.losses.base import PairLoss, zipped
from vicinal.losses.base import Inputs
from vicinal.training.arguments import CrossEncoderTrainingArguments
from vicinal.training.collator import DATASET, CrossEncoderDataCollator
from vicinal.training.fit import fit
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


class LogitsLoss(PairLoss):
    """Any function of logits and labels as a loss.

    Args:
        model: what to train.
        loss_fct: a function of logits (pairs,) and float labels, or (pairs, labels) and classes.
        activation_fn: applied to logits first; None for none.
    """

    inputs = Inputs(("text_a", "text_b"), labels="what the loss function takes of each pair")

    def __init__(self, model: Any, loss_fct: Any, activation_fn: Any = None) -> None:
        super().__init__(model, activation_fn, one_label=False)
        self.loss_fct = loss_fct

    def loss(self, inputs: Sequence[Any], labels: Any, options: dict[str, Any]) -> Any:
        """The loss of pairs."""
        logits = self.logits(zipped(inputs), options)
        logits, labels = (logits.squeeze(1), labels.float()) if logits.shape[1] == 1 else (logits, labels.long())
        return self.loss_fct(self.activation_fn(logits), labels.to(logits.device))


def fit_pairs(model: Any, *, train_dataloader: Any, loss_fct: Any, activation_fct: Any, **options: Any) -> None:
    """Train a cross-encoder on a DataLoader. The arguments are those of `CrossEncoder.fit`."""
    if isinstance(loss_fct, PairLoss):
        if activation_fct is not None:
            raise ValueError(f"give activation_fct to {type(loss_fct).__name__} itself, as activation_fn")
        loss: Any = loss_fct
    elif loss_fct is not None:
        loss = LogitsLoss(model, loss_fct, activation_fct)
    else:
        kind = BinaryCrossEntropyLoss if model.num_labels == 1 else CrossEntropyLoss
        loss = kind(model, activation_fct)
    fit(
        model, [(train_dataloader, loss)], CrossEncoderTrainer, steps_per_epoch=None, checkpoint_path=None,
        checkpoint_save_steps=0, checkpoint_save_total_limit=0, **options,
    )  # fmt: skip
