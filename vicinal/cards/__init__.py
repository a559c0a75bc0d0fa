"""Model cards: what is told of a model in its README.md, for people and for the hub."""

from __future__ import annotations

from vicinal.cards.data import CrossEncoderModelCardData, ModelCardData, SentenceTransformerModelCardData

__all__ = ["CrossEncoderModelCardData", "ModelCardData", "SentenceTransformerModelCardData"]
