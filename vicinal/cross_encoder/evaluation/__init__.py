"""Evaluators of models that score pairs; each needs only what has `predict(pairs, ...)`."""

from __future__ import annotations

from vicinal.cross_encoder.evaluation.classification import CrossEncoderClassificationEvaluator
from vicinal.cross_encoder.evaluation.correlation import CrossEncoderCorrelationEvaluator
from vicinal.cross_encoder.evaluation.nano_beir import CrossEncoderNanoBEIREvaluator
from vicinal.cross_encoder.evaluation.reranking import CrossEncoderRerankingEvaluator

# The older names.
CEBinaryAccuracyEvaluator = CrossEncoderClassificationEvaluator
CEBinaryClassificationEvaluator = CrossEncoderClassificationEvaluator
CECorrelationEvaluator = CrossEncoderCorrelationEvaluator
CEF1Evaluator = CrossEncoderClassificationEvaluator
CERerankingEvaluator = CrossEncoderRerankingEvaluator
CESoftmaxAccuracyEvaluator = CrossEncoderClassificationEvaluator

__all__ = [
    "CEBinaryAccuracyEvaluator",
    "CEBinaryClassificationEvaluator",
    "CECorrelationEvaluator",
    "CEF1Evaluator",
    "CERerankingEvaluator",
    "CESoftmaxAccuracyEvaluator",
    "CrossEncoderClassificationEvaluator",
    "CrossEncoderCorrelationEvaluator",
    "CrossEncoderNanoBEIREvaluator",
    "CrossEncoderRerankingEvaluator",
]
