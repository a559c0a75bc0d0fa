"""Rows to the features of a batch: each column is tokenized once, its prompt in front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from vicinal.errors import InvalidData

LABELS = ("label", "labels", "score", "scores")
"""Columns of these names hold labels; all others, in their order, are what a loss is given."""
DATASET = "dataset_name"
"""The key by which a batch says of which data set it is."""


@dataclass
class SentenceTransformerDataCollator:
    """Columns of texts to "{column}_input_ids", "{column}_attention_mask", ...; labels to "label".

    Args:
        preprocess_fn: the model's: texts, and `prompt` and `task`, to features.
        valid_label_columns: names of the column of labels.
        router_mapping: the task of each column; or by data set and column.
        prompts: one, by column, by data set, or by data set and column.
    """

    preprocess_fn: Callable[..., dict[str, Any]]
    valid_label_columns: Sequence[str] = LABELS
    router_mapping: Mapping[str, Any] = field(default_factory=dict)
    prompts: Any = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The batch of some rows, which have the same columns."""
        name = rows[0].get(DATASET)
        batch: dict[str, Any] = {} if name is None else {DATASET: name}
        columns = [column for column in rows[0] if column != DATASET]
        label = next((column for column in self.valid_label_columns if column in columns), None)
        if label is not None:
            batch["label"] = as_labels([row[label] for row in rows])
        for column in columns:
            if column != label:
                batch.update(self.features(column, [row[column] for row in rows], name))
        return batch

    def features(self, column: str, texts: list[Any], dataset: str | None) -> dict[str, Any]:
        """What a column becomes."""
        options = {"prompt": self.prompt_of(column, dataset), "task": _chosen(self.router_mapping, column, dataset)}
        found = self.preprocess_fn(texts, **{key: value for key, value in options.items() if value})
        return {f"{column}_{key}": value for key, value in found.items()}

    def prompt_of(self, column: str, dataset: str | None) -> str | None:
        """What goes in front of a column's texts."""
        return self.prompts if isinstance(self.prompts, str) else _chosen(self.prompts or {}, column, dataset)


@dataclass
class CrossEncoderDataCollator(SentenceTransformerDataCollator):
    """Columns of texts as they are, which a loss makes pairs of; labels to "label"."""

    preprocess_fn: Callable[..., dict[str, Any]] = dict

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = super().__call__(rows)
        if isinstance(self.prompts, str):
            batch["prompt"] = self.prompts
        return batch

    def features(self, column: str, texts: list[Any], dataset: str | None) -> dict[str, Any]:
        return {column: texts}


def _chosen(mapping: Mapping[str, Any], column: str, dataset: str | None) -> Any:
    """The entry of a column: of its data set's own mapping, of the data set, or of the column."""
    if dataset is not None and dataset in mapping:
        own = mapping[dataset]
        return own.get(column) if isinstance(own, Mapping) else own
    found = mapping.get(column)
    return None if isinstance(found, Mapping) else found


def as_labels(values: list[Any]) -> Any:
    """Labels as a tensor: float32, or int64 for whole numbers. Lists of different lengths stay lists of tensors.

    Raises:
        InvalidData: one is missing, or no number.
    """
    try:
        if isinstance(values[0], (list, tuple)) and len({len(value) for value in values}) > 1:
            return [torch.tensor(value) for value in values]
        found = torch.tensor(values)
    except (TypeError, ValueError) as error:
        raise InvalidData(f"labels must be numbers, or lists of them: {values[:4]!r} ({error})") from error
    return found.float() if found.is_floating_point() else found
