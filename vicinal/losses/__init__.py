"""Losses to train models with, called `loss([features, features, ...], labels)`; docs/losses.md says when to use which."""

from __future__ import annotations

from vicinal.extras import require

require("torch", "training (vicinal.losses)")

from vicinal.losses.ranking import (
    CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss,
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
)

__all__ = [
    "CachedMultipleNegativesRankingLoss",
    "CachedMultipleNegativesSymmetricRankingLoss",
    "MultipleNegativesRankingLoss",
    "MultipleNegativesSymmetricRankingLoss",
]
