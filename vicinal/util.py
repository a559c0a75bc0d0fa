"""The functions that users know by the name `util`: all of `vicinal.similarity`, and mining."""

from __future__ import annotations

from vicinal.similarity import *  # noqa: F403
from vicinal.similarity import __all__ as _similarity
from vicinal.training.mining import mine_hard_negatives

__all__ = [*_similarity, "mine_hard_negatives"]  # noqa: PLE0604
