"""Training arguments: those of `transformers`, and a few of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from vicinal.training.samplers import BatchSamplers, MultiDatasetBatchSamplers


@dataclass
class SentenceTransformerTrainingArguments(TrainingArguments):
    """What a training run does. Every argument of `transformers.TrainingArguments`, and:

    Args:
        prompts: what goes in front of texts: one for all, by column, by data set, or by data set and column.
        batch_sampler: how the rows of a data set are put into batches: a `BatchSamplers`, its name, or a class or
            function (dataset, batch_size, drop_last, valid_label_columns, generator, seed).
        multi_dataset_batch_sampler: how the batches of several data sets follow each other: a
            `MultiDatasetBatchSamplers`, its name, or a class or function (dataset, batch_samplers, generator, seed).
        router_mapping: the route of each column, of a model that has several; or by data set and column.
        learning_rate_mapping: rates by a regular expression of a parameter's name.
        warmup_ratio: of all steps, as `warmup_steps` below 1 in newer versions.

    prompts, router_mapping and learning_rate_mapping may be JSON, as a command line gives them.
    """

    prompts: Any = field(default=None, metadata={"help": "Prompts: one, by column, by data set, or by both."})
    batch_sampler: Any = field(default=BatchSamplers.BATCH_SAMPLER, metadata={"help": "How rows become batches."})
    multi_dataset_batch_sampler: Any = field(
        default=MultiDatasetBatchSamplers.PROPORTIONAL, metadata={"help": "How data sets take turns."}
    )
    router_mapping: Any = field(default_factory=dict, metadata={"help": "Routes by column."})
    learning_rate_mapping: Any = field(default_factory=dict, metadata={"help": "Rates by parameter name."})
    warmup_ratio: float | None = field(default=None, metadata={"help": "Share of the steps that warm up."})

    def __post_init__(self) -> None:
        if self.warmup_ratio and not self.warmup_steps:
            self.warmup_steps = self.warmup_ratio
        super().__post_init__()  # type: ignore[no-untyped-call]  # transformers' own
        self.prompts = _parsed("prompts", self.prompts)
        self.router_mapping = _mapping("router_mapping", self.router_mapping)
        self.learning_rate_mapping = _mapping("learning_rate_mapping", self.learning_rate_mapping)
        if isinstance(self.batch_sampler, str):
            self.batch_sampler = BatchSamplers(self.batch_sampler)
        if isinstance(self.multi_dataset_batch_sampler, str):
            self.multi_dataset_batch_sampler = MultiDatasetBatchSamplers(self.multi_dataset_batch_sampler)
        self.prediction_loss_only = True
        if self.world_size > 1:
            self.dataloader_drop_last = True  # a process without a batch would wait for the others forever

    def to_dict(self) -> dict[str, Any]:
        """The arguments as JSON has them; classes and functions by name."""
        found = super().to_dict()  # type: ignore[no-untyped-call]
        for name in ("batch_sampler", "multi_dataset_batch_sampler"):
            value = found[name]
            found[name] = getattr(value, "value", getattr(value, "__name__", value))
        return dict(found)


class CrossEncoderTrainingArguments(SentenceTransformerTrainingArguments):
    """The same, for a `CrossEncoderTrainer`."""


def _parsed(name: str, value: Any) -> Any:
    """JSON that stands for a mapping, read; any other text as it is."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} is no JSON ({error}): {value!r}") from error
    return value


def _mapping(name: str, value: Any) -> dict[str, Any]:
    value = _parsed(name, value or {})
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be a mapping, not {value!r}")
    return dict(value)
