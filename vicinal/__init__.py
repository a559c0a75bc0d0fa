"""vicinal: sentence embeddings and semantic search."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from vicinal import errors, evaluation, losses, util
    from vicinal.cross_encoder import CrossEncoder
    from vicinal.retrieval import Hit, Pipeline, Retriever
    from vicinal.sentence_transformer import SentenceTransformer
    from vicinal.similarity import SimilarityFunction, quantize_embeddings
    from vicinal.store.index import Index

__all__ = [
    "CrossEncoder",
    "Hit",
    "Index",
    "Pipeline",
    "Retriever",
    "SentenceTransformer",
    "SimilarityFunction",
    "__version__",
    "errors",
    "evaluation",
    "losses",
    "quantize_embeddings",
    "util",
]

_HOMES = {
    "CrossEncoder": "vicinal.cross_encoder",
    "Hit": "vicinal.retrieval",
    "Index": "vicinal.store.index",
    "Pipeline": "vicinal.retrieval",
    "Retriever": "vicinal.retrieval",
    "SentenceTransformer": "vicinal.sentence_transformer",
    "SimilarityFunction": "vicinal.similarity",
    "quantize_embeddings": "vicinal.similarity",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import vicinal` takes milliseconds (PEP 562)."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in __all__:
        value = importlib.import_module(f"vicinal.{name}")
    else:
        raise AttributeError(f"module 'vicinal' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
