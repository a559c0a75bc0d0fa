"""Cross-encoders: read a query and a document together, and score the pair."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vicinal.cross_encoder.cross_encoder import CrossEncoder

if TYPE_CHECKING:
    from vicinal.cards import CrossEncoderModelCardData as CrossEncoderModelCardData
    from vicinal.training.arguments import CrossEncoderTrainingArguments as CrossEncoderTrainingArguments
    from vicinal.training.collator import CrossEncoderDataCollator as CrossEncoderDataCollator
    from vicinal.training.cross_encoder import CrossEncoderTrainer as CrossEncoderTrainer

__all__ = ["CrossEncoder"]

_HOMES = {
    "CrossEncoderDataCollator": "vicinal.training.collator",
    "CrossEncoderModelCardData": "vicinal.cards",
    "CrossEncoderTrainer": "vicinal.training.cross_encoder",
    "CrossEncoderTrainingArguments": "vicinal.training.arguments",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
