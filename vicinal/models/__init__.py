"""The modules that models are built from, as torch modules: `SentenceTransformer(modules=[Transformer(...), ...])`."""

from __future__ import annotations

from typing import NoReturn

from vicinal import refused
from vicinal.models.heads import Dense, Dropout, LayerNorm, Normalize
from vicinal.models.layers import CNN, LSTM, WeightedLayerPooling
from vicinal.models.module import InputModule, Module
from vicinal.models.pooling import Pooling
from vicinal.models.router import Asym, Router
from vicinal.models.static import StaticEmbedding
from vicinal.models.tokenizer import PhraseTokenizer, WhitespaceTokenizer
from vicinal.models.transformer import Transformer
from vicinal.models.words import BoW, WordEmbeddings, WordWeights

__all__ = [
    "CNN",
    "LSTM",
    "Asym",
    "BoW",
    "Dense",
    "Dropout",
    "InputModule",
    "LayerNorm",
    "Module",
    "Normalize",
    "PhraseTokenizer",
    "Pooling",
    "Router",
    "StaticEmbedding",
    "Transformer",
    "WeightedLayerPooling",
    "WhitespaceTokenizer",
    "WordEmbeddings",
    "WordWeights",
]


def __getattr__(name: str) -> NoReturn:
    refused.module_name(__name__, name)
