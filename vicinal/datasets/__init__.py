"""The data sets that `model.fit` takes: examples behind torch's `Dataset`, by the names of versions 2 to 6."""

from __future__ import annotations

from vicinal.extras import require

require("torch", "training (vicinal.datasets)")

from vicinal.datasets.denoising import DenoisingAutoEncoderDataset
from vicinal.datasets.no_duplicates import NoDuplicatesDataLoader
from vicinal.datasets.parallel import ParallelSentencesDataset
from vicinal.datasets.sentences import SentenceLabelDataset, SentencesDataset

__all__ = [
    "DenoisingAutoEncoderDataset",
    "NoDuplicatesDataLoader",
    "ParallelSentencesDataset",
    "SentenceLabelDataset",
    "SentencesDataset",
]
