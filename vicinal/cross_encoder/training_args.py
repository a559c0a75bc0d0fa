"""Training arguments of cross-encoders, where users look for them."""

from __future__ import annotations

from vicinal.training.arguments import CrossEncoderTrainingArguments

__all__ = [
    "CrossEncoderTrainingArguments",
]
