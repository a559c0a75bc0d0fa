"""Losses to train models with, called `loss([features, features, ...], labels)`; docs/losses.md says which is for
what."""

from __future__ import annotations

from vicinal.extras import require

require("torch", "training (vicinal.losses)")

from vicinal.losses.base import Loss
from vicinal.losses.batch_triplet import (
    BatchAllTripletLoss,
    BatchHardSoftMarginTripletLoss,
    BatchHardTripletLoss,
    BatchHardTripletLossDistanceFunction,
    BatchSemiHardTripletLoss,
)
from vicinal.losses.contrastive import ContrastiveLoss, OnlineContrastiveLoss, SiameseDistanceMetric
from vicinal.losses.denoising import DenoisingAutoEncoderLoss
from vicinal.losses.distillation import DistillKLDivLoss, MarginMSELoss
from vicinal.losses.embeddings import EmbedDistillLoss, MSELoss
from vicinal.losses.gist import CachedGISTEmbedLoss, GISTEmbedLoss
from vicinal.losses.matryoshka import AdaptiveLayerLoss, Matryoshka2dLoss, MatryoshkaLoss
from vicinal.losses.megabatch import MegaBatchMarginLoss
from vicinal.losses.orthogonal import GlobalOrthogonalRegularizationLoss
from vicinal.losses.pairs import AnglELoss, CoSENTLoss, CosineSimilarityLoss
from vicinal.losses.ranking import (
    CachedMultipleNegativesRankingLoss,
    CachedMultipleNegativesSymmetricRankingLoss,
    MultipleNegativesRankingLoss,
    MultipleNegativesSymmetricRankingLoss,
)
from vicinal.losses.softmax import SoftmaxLoss
from vicinal.losses.tension import (
    ContrastiveTensionDataLoader,
    ContrastiveTensionLoss,
    ContrastiveTensionLossInBatchNegatives,
)
from vicinal.losses.triplet import TripletDistanceMetric, TripletLoss

__all__ = [
    "AdaptiveLayerLoss",
    "AnglELoss",
    "BatchAllTripletLoss",
    "BatchHardSoftMarginTripletLoss",
    "BatchHardTripletLoss",
    "BatchHardTripletLossDistanceFunction",
    "BatchSemiHardTripletLoss",
    "CachedGISTEmbedLoss",
    "CachedMultipleNegativesRankingLoss",
    "CachedMultipleNegativesSymmetricRankingLoss",
    "CoSENTLoss",
    "ContrastiveLoss",
    "ContrastiveTensionDataLoader",
    "ContrastiveTensionLoss",
    "ContrastiveTensionLossInBatchNegatives",
    "CosineSimilarityLoss",
    "DenoisingAutoEncoderLoss",
    "DistillKLDivLoss",
    "EmbedDistillLoss",
    "GISTEmbedLoss",
    "GlobalOrthogonalRegularizationLoss",
    "Loss",
    "MSELoss",
    "MarginMSELoss",
    "Matryoshka2dLoss",
    "MatryoshkaLoss",
    "MegaBatchMarginLoss",
    "MultipleNegativesRankingLoss",
    "MultipleNegativesSymmetricRankingLoss",
    "OnlineContrastiveLoss",
    "SiameseDistanceMetric",
    "SoftmaxLoss",
    "TripletDistanceMetric",
    "TripletLoss",
]
