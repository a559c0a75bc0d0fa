"""Similarity functions, where users look for them."""

from __future__ import annotations

from vicinal.similarity import SimilarityFunction

__all__ = [
    "SimilarityFunction",
]
