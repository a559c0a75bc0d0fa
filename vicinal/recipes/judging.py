"""A reranker beside the encoder whose candidates it orders: nDCG@10 of both, and of both together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vicinal.cross_encoder import CrossEncoder
from vicinal.evaluation.files import RetrievalSet
from vicinal.evaluation.metrics import ndcg_at
from vicinal.evaluation.resampling import Difference, mean_difference
from vicinal.retrieval import Pipeline, Retriever
from vicinal.retrieval.fusion import weighted
from vicinal.sentence_transformer import SentenceTransformer

SHOWN = 10
"""Hits that are judged."""
WEIGHTS = tuple(round(0.05 * step, 2) for step in range(21))
"""Of the reranker, among which one is chosen."""


@dataclass(frozen=True)
class Comparison:
    """nDCG@10 of the encoder alone and of its candidates reranked, on the same queries.

    Attributes:
        name: of the set.
        before, after: of each query, (queries,).
        difference: of their means, after - before, with a paired test's p.
        candidates: how many were reranked.
        weight: of the reranker beside the encoder, see `Pipeline`; None where it orders alone.
    """

    name: str
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    difference: Difference
    candidates: int
    weight: float | None = None

    def __str__(self) -> str:
        change = self.difference
        how = "alone" if self.weight is None else f"with a weight of {self.weight:.2f}"
        return (
            f"{self.name}: nDCG@10 of {len(self.before)} queries, the best {self.candidates} reranked {how}\n"
            f"  encoder alone  {self.before.mean():.4f}\n"
            f"  reranked       {self.after.mean():.4f}\n"
            f"  difference    {change.value:+.4f}  95 %: {change.low:+.4f} to {change.high:+.4f}, p = {change.p:.4f}"
        )


@dataclass(frozen=True)
class Judged:
    """A set's candidates with the scores of both models: computed once, compared at any weight.

    Attributes:
        name: of the set.
        first, second: the encoder's and the reranker's score of each candidate, of each query: in the encoder's order.
        gains: their grades.
        ideal: the highest grades of each query, best first, (queries, 10).
    """

    name: str
    first: list[list[float]]
    second: list[list[float]]
    gains: list[list[float]]
    ideal: NDArray[np.float64]

    @property
    def candidates(self) -> int:
        """Of a query, at most."""
        return max((len(row) for row in self.first), default=0)

    def ndcg(self, weight: float | None = None) -> NDArray[np.float64]:
        """nDCG@10 of each query, (queries,): 0 is the encoder alone, None and 1 the reranker alone."""
        found = np.zeros((len(self.gains), SHOWN))
        for row, (first, second, gains) in enumerate(zip(self.first, self.second, self.gains, strict=True)):
            scores = np.asarray(second) if weight is None else weighted(first, second, weight)
            best = np.argsort(-scores, kind="stable")[:SHOWN]
            found[row, : len(best)] = np.asarray(gains)[best]
        return ndcg_at(found, self.ideal, SHOWN)

    def compared(self, weight: float | None = None) -> Comparison:
        """The reranker's order at a weight beside the encoder's own."""
        before, after = self.ndcg(0), self.ndcg(weight)
        return Comparison(self.name, before, after, mean_difference(after, before), self.candidates, weight)


def judge(encoder: SentenceTransformer, reranker: CrossEncoder, data: RetrievalSet, candidates: int = 100) -> Judged:
    """The encoder's best candidates for each query, with the scores of both models.

    Raises:
        ValueError: candidates are fewer than the 10 that are judged.
    """
    if candidates < SHOWN:
        raise ValueError(f"candidates must be at least the {SHOWN} that nDCG@{SHOWN} looks at, not {candidates}")
    retriever = Retriever(encoder, list(data.corpus.values()), ids=list(data.corpus))
    grades = [data.relevant[query] for query in data.queries]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # texts longer than a model are usual here, and both lose their end
        rankings = Pipeline(retriever, reranker, candidates, candidates)(list(data.queries.values()))
    first, second, gains = [], [], []
    for ranking, known in zip(rankings, grades, strict=True):
        hits = sorted(ranking, key=lambda hit: -hit.scores["dense"])
        first.append([hit.scores["dense"] for hit in hits])
        second.append([hit.scores["rerank"] for hit in hits])
        gains.append([known.get(hit.id, 0.0) for hit in hits])
    return Judged(data.name, first, second, gains, _ideal(grades))


def best_weight(judged: Sequence[Judged], weights: Sequence[float] = WEIGHTS) -> float:
    """The weight of the reranker that gives the highest mean nDCG@10 over sets, each counted alike.

    Choose it on queries that neither training nor the final measurement has. Of equal ones the smallest.

    Raises:
        ValueError: there is no set, or no weight.
    """
    if not judged or not weights:
        raise ValueError("a weight is chosen among some, by at least one set")
    means = [float(np.mean([data.ndcg(weight).mean() for data in judged])) for weight in weights]
    return weights[int(np.argmax(means))]


def compare(
    encoder: SentenceTransformer,
    reranker: CrossEncoder,
    data: RetrievalSet,
    candidates: int = 100,
    weight: float | None = None,
) -> Comparison:
    """nDCG@10 of an encoder, and of a reranker over its best candidates, alone or with a weight."""
    return judge(encoder, reranker, data, candidates).compared(weight)


def _ideal(grades: Sequence[dict[str, float]]) -> NDArray[np.float64]:
    """The highest grades of each query, best first, (queries, 10)."""
    ideal = np.zeros((len(grades), SHOWN))
    for row, known in enumerate(grades):
        best = sorted(known.values(), reverse=True)[:SHOWN]
        ideal[row, : len(best)] = best
    return ideal
