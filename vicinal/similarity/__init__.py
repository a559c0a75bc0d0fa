"""Comparing vectors: scores, exact search, paraphrase mining, clustering, quantization. Arrays in, arrays out."""

from __future__ import annotations

from vicinal.similarity.clustering import community_detection
from vicinal.similarity.mining import paraphrase_mining, paraphrase_mining_embeddings
from vicinal.similarity.quantization import quantization_ranges, quantize_embeddings
from vicinal.similarity.quantized_search import semantic_search_faiss, semantic_search_usearch
from vicinal.similarity.scores import (
    SimilarityFunction,
    cos_sim,
    dot_score,
    euclidean_sim,
    manhattan_sim,
    normalize_embeddings,
    pairwise_angle_sim,
    pairwise_cos_sim,
    pairwise_dot_score,
    pairwise_euclidean_sim,
    pairwise_manhattan_sim,
    pytorch_cos_sim,
    truncate_embeddings,
)
from vicinal.similarity.search import information_retrieval, semantic_search

__all__ = [
    "SimilarityFunction",
    "community_detection",
    "cos_sim",
    "dot_score",
    "euclidean_sim",
    "information_retrieval",
    "manhattan_sim",
    "normalize_embeddings",
    "pairwise_angle_sim",
    "pairwise_cos_sim",
    "pairwise_dot_score",
    "pairwise_euclidean_sim",
    "pairwise_manhattan_sim",
    "paraphrase_mining",
    "paraphrase_mining_embeddings",
    "pytorch_cos_sim",
    "quantization_ranges",
    "quantize_embeddings",
    "semantic_search",
    "semantic_search_faiss",
    "semantic_search_usearch",
    "truncate_embeddings",
]
