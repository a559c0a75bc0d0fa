"""The trainer, where users look for it."""

from __future__ import annotations

from vicinal.training.trainer import SentenceTransformerTrainer

__all__ = [
    "SentenceTransformerTrainer",
]
