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
_FEATURES = (
    "input_ids", "attention_mask", "token_type_ids", "prompt_length", "offsets", "task", "sentence_lengths",
    "sentence_embedding", "pixel_values",
)  # fmt: skip
"""Names of features by one of which a batch's columns are told apart."""


@dataclass
class SentenceTransformerDataCollator:
    """Columns of texts to "{column}_input_ids", "{column}_attention_mask", ...; labels to "label".

    Args:
        preprocess_fn: the model's: texts, and `prompt` and `task`, to features.
        valid_label_columns: names of the column of labels.
        router_mapping: the task of each column; or by data set and column.
        prompts: one, by column, by data set, or by data set and column.
        max_length: None; the model's `max_seq_length` is the limit.

    Raises:
        ValueError: another limit is given.
    """

    preprocess_fn: Callable[..., dict[str, Any]]
    valid_label_columns: Sequence[str] = LABELS
    router_mapping: Mapping[str, Any] = field(default_factory=dict)
    prompts: Any = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.max_length is not None:
            raise ValueError("max_length is not for the collator here: set model.max_seq_length")

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
        if not any(key in found for key in _FEATURES):  # of a module of the user's own
            found = {**found, "task": options["task"]}
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


def columns_of(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The features of each column of a batch, in order.

    >>> columns_of({"a_input_ids": 1, "a_b_input_ids": 2, "a_own": 3, "a_b_own": 4, "label": 5})
    [{'input_ids': 1, 'own': 3}, {'input_ids': 2, 'own': 4}]
    """
    names: dict[str, dict[str, Any]] = {}
    for key in batch:
        for name in _FEATURES:
            if key.endswith(f"_{name}"):
                names[key.removesuffix(name)] = {}
    for key, value in batch.items():
        fitting = [name for name in names if key.startswith(name)]
        if fitting:
            name = max(fitting, key=len)
            names[name][key.removeprefix(name)] = value
    return list(names.values())


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
