"""Losses to train cross-encoders with, called `loss([texts, texts, ...], labels)`; docs/losses.md says which is for
what."""

from __future__ import annotations

from vicinal.extras import require

require("torch", "training (vicinal.cross_encoder.losses)")

from vicinal.cross_encoder.losses.lambda_loss import (
    BaseWeightingScheme,
    LambdaLoss,
    LambdaRankScheme,
    NDCGLoss1Scheme,
    NDCGLoss2PPScheme,
    NDCGLoss2Scheme,
    NoWeightingScheme,
    RankNetLoss,
)
from vicinal.cross_encoder.losses.listwise import (
    ADRMSELoss,
    ListMLELoss,
    ListNetLoss,
    PListMLELambdaWeight,
    PListMLELoss,
)
from vicinal.cross_encoder.losses.pointwise import BinaryCrossEntropyLoss, CrossEntropyLoss, MarginMSELoss, MSELoss
from vicinal.cross_encoder.losses.ranking import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss

__all__ = [
    "ADRMSELoss",
    "BaseWeightingScheme",
    "BinaryCrossEntropyLoss",
    "CachedMultipleNegativesRankingLoss",
    "CrossEntropyLoss",
    "LambdaLoss",
    "LambdaRankScheme",
    "ListMLELoss",
    "ListNetLoss",
    "MSELoss",
    "MarginMSELoss",
    "MultipleNegativesRankingLoss",
    "NDCGLoss1Scheme",
    "NDCGLoss2PPScheme",
    "NDCGLoss2Scheme",
    "NoWeightingScheme",
    "PListMLELambdaWeight",
    "PListMLELoss",
    "RankNetLoss",
]
