"""Training arguments and samplers, where users look for them."""

from __future__ import annotations

from vicinal.training.arguments import SentenceTransformerTrainingArguments
from vicinal.training.samplers import BatchSamplers, MultiDatasetBatchSamplers

__all__ = [
    "BatchSamplers",
    "MultiDatasetBatchSamplers",
    "SentenceTransformerTrainingArguments",
]
