"""Vectors in other precisions, where users look for them."""

from __future__ import annotations

from vicinal.similarity import quantize_embeddings, semantic_search_faiss, semantic_search_usearch

__all__ = [
    "quantize_embeddings",
    "semantic_search_faiss",
    "semantic_search_usearch",
]
