"""Retrieve, then rerank: a cheap first stage over everything, a careful second one over its best."""

from __future__ import annotations

from vicinal.retrieval.fusion import reciprocal_rank_fusion
from vicinal.retrieval.hit import Hit
from vicinal.retrieval.pipeline import Pipeline, Ranking
from vicinal.retrieval.retriever import Retriever

__all__ = ["Hit", "Pipeline", "Ranking", "Retriever", "reciprocal_rank_fusion"]
