"""Evaluators: callables that say how good a model is, by the names that users know."""

from __future__ import annotations

from vicinal.evaluation.base import BaseEvaluator, SentenceEvaluator
from vicinal.evaluation.binary_classification import BinaryClassificationEvaluator
from vicinal.evaluation.embedding_similarity import EmbeddingSimilarityEvaluator
from vicinal.evaluation.information_retrieval import InformationRetrievalEvaluator
from vicinal.evaluation.label_accuracy import LabelAccuracyEvaluator
from vicinal.evaluation.mse import MSEEvaluator
from vicinal.evaluation.mse_from_dataframe import MSEEvaluatorFromDataFrame
from vicinal.evaluation.nano_beir import NanoBEIREvaluator
from vicinal.evaluation.paraphrase_mining import ParaphraseMiningEvaluator
from vicinal.evaluation.reranking import RerankingEvaluator
from vicinal.evaluation.sequential import SequentialEvaluator
from vicinal.evaluation.translation import TranslationEvaluator
from vicinal.evaluation.triplet import TripletEvaluator
from vicinal.similarity import SimilarityFunction

__all__ = [
    "BaseEvaluator",
    "BinaryClassificationEvaluator",
    "EmbeddingSimilarityEvaluator",
    "InformationRetrievalEvaluator",
    "LabelAccuracyEvaluator",
    "MSEEvaluator",
    "MSEEvaluatorFromDataFrame",
    "NanoBEIREvaluator",
    "ParaphraseMiningEvaluator",
    "RerankingEvaluator",
    "SentenceEvaluator",
    "SequentialEvaluator",
    "SimilarityFunction",
    "TranslationEvaluator",
    "TripletEvaluator",
]
