"""Model cards, where users look for them."""

from __future__ import annotations

from vicinal.cards import SentenceTransformerModelCardData
from vicinal.training.model_card import ModelCardCallback

__all__ = [
    "ModelCardCallback",
    "SentenceTransformerModelCardData",
]
