"""vicinal: sentence embeddings and semantic search."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vicinal import datasets, errors, evaluation, losses, models, readers, util
    from vicinal.cards import CrossEncoderModelCardData, SentenceTransformerModelCardData
    from vicinal.cross_encoder import CrossEncoder
    from vicinal.datasets import ParallelSentencesDataset, SentencesDataset
    from vicinal.exporting import (
        export_dynamic_quantized_onnx_model,
        export_onnx,
        export_optimized_onnx_model,
        export_static_quantized_openvino_model,
    )
    from vicinal.helpers import LoggingHandler
    from vicinal.retrieval import Hit, Pipeline, Retriever
    from vicinal.sentence_transformer import SentenceTransformer
    from vicinal.similarity import SimilarityFunction, quantize_embeddings
    from vicinal.store.index import Index
    from vicinal.store.vectors.reading import load_vectors
    from vicinal.store.vectors.saving import load_ranges, save_vectors
    from vicinal.training.arguments import CrossEncoderTrainingArguments, SentenceTransformerTrainingArguments
    from vicinal.training.cross_encoder import CrossEncoderTrainer
    from vicinal.training.mining import mine_hard_negatives
    from vicinal.training.readers import InputExample
    from vicinal.training.resolving import resolve_ids
    from vicinal.training.samplers import DefaultBatchSampler, MultiDatasetDefaultBatchSampler
    from vicinal.training.trainer import SentenceTransformerTrainer

__all__ = [
    "CrossEncoder",
    "CrossEncoderModelCardData",
    "CrossEncoderTrainer",
    "CrossEncoderTrainingArguments",
    "DefaultBatchSampler",
    "Hit",
    "Index",
    "InputExample",
    "LoggingHandler",
    "MultiDatasetDefaultBatchSampler",
    "ParallelSentencesDataset",
    "Pipeline",
    "Retriever",
    "SentenceTransformer",
    "SentenceTransformerModelCardData",
    "SentenceTransformerTrainer",
    "SentenceTransformerTrainingArguments",
    "SentencesDataset",
    "SimilarityFunction",
    "__version__",
    "datasets",
    "errors",
    "evaluation",
    "export_dynamic_quantized_onnx_model",
    "export_onnx",
    "export_optimized_onnx_model",
    "export_static_quantized_openvino_model",
    "load_ranges",
    "load_vectors",
    "losses",
    "mine_hard_negatives",
    "models",
    "quantize_embeddings",
    "readers",
    "resolve_ids",
    "save_vectors",
    "util",
]

_HOMES = {
    "CrossEncoder": "vicinal.cross_encoder",
    "CrossEncoderModelCardData": "vicinal.cards",
    "CrossEncoderTrainer": "vicinal.training.cross_encoder",
    "CrossEncoderTrainingArguments": "vicinal.training.arguments",
    "DefaultBatchSampler": "vicinal.training.samplers",
    "Hit": "vicinal.retrieval",
    "Index": "vicinal.store.index",
    "InputExample": "vicinal.training.readers",
    "LoggingHandler": "vicinal.helpers",
    "MultiDatasetDefaultBatchSampler": "vicinal.training.samplers",
    "ParallelSentencesDataset": "vicinal.datasets",
    "Pipeline": "vicinal.retrieval",
    "Retriever": "vicinal.retrieval",
    "SentenceTransformer": "vicinal.sentence_transformer",
    "SentenceTransformerModelCardData": "vicinal.cards",
    "SentenceTransformerTrainer": "vicinal.training.trainer",
    "SentenceTransformerTrainingArguments": "vicinal.training.arguments",
    "SentencesDataset": "vicinal.datasets",
    "SimilarityFunction": "vicinal.similarity",
    "export_dynamic_quantized_onnx_model": "vicinal.exporting",
    "export_onnx": "vicinal.exporting",
    "export_optimized_onnx_model": "vicinal.exporting",
    "export_static_quantized_openvino_model": "vicinal.exporting",
    "load_ranges": "vicinal.store.vectors.saving",
    "load_vectors": "vicinal.store.vectors.reading",
    "mine_hard_negatives": "vicinal.training.mining",
    "quantize_embeddings": "vicinal.similarity",
    "resolve_ids": "vicinal.training.resolving",
    "save_vectors": "vicinal.store.vectors.saving",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import vicinal` takes milliseconds (PEP 562)."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"vicinal.{name}")
    else:
        from vicinal.refused import module_name

        module_name(__name__, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
