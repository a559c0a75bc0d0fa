"""The collator, where users look for it."""

from __future__ import annotations

from vicinal.training.collator import SentenceTransformerDataCollator

__all__ = [
    "SentenceTransformerDataCollator",
]
