"""Cross-encoders: read a query and a document together, and score the pair."""

from __future__ import annotations

from vicinal.cross_encoder.cross_encoder import CrossEncoder

__all__ = ["CrossEncoder"]
