"""The trainer of cross-encoders, where users look for it."""

from __future__ import annotations

from vicinal.training.cross_encoder import CrossEncoderTrainer

__all__ = [
    "CrossEncoderTrainer",
]
