"""The modules that models are built from, as torch modules: `SentenceTransformer(modules=[Transformer(...), ...])`."""

from __future__ import annotations

from vicinal.models.heads import Dense, Dropout, LayerNorm, Normalize
from vicinal.models.layers import CNN, LSTM, WeightedLayerPooling
from vicinal.models.module import InputModule, Module
from vicinal.models.pooling import Pooling
from vicinal.models.router import Asym, Router
from vicinal.models.static import StaticEmbedding
from vicinal.models.transformer import Transformer

__all__ = [
    "CNN",
    "LSTM",
    "Asym",
    "Dense",
    "Dropout",
    "InputModule",
    "LayerNorm",
    "Module",
    "Normalize",
    "Pooling",
    "Router",
    "StaticEmbedding",
    "Transformer",
    "WeightedLayerPooling",
]
