"""What a search gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hit:
    """A document that was found.

    Attributes:
        id: the document's own.
        score: by which the hits are in order: of the last stage that saw it.
        text: the document's, or the part of it that was found.
        metadata: what was stored with it.
        span: where in the document the text stands, (first character, end); None for all of it.
        scores: of each stage that saw it, by the stage's name: "dense", "bm25", "fusion", "rerank", "weighted".
    """

    id: Any
    score: float
    text: str
    metadata: Mapping[str, Any] | None = None
    span: tuple[int, int] | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
