"""Both stages together, within a time budget where one is given."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vicinal.errors import InvalidInput
from vicinal.retrieval.fusion import checked_weight, weighted
from vicinal.retrieval.hit import Hit
from vicinal.retrieval.retriever import Retriever
from vicinal.text.inputs import name_of

if TYPE_CHECKING:
    from vicinal.cross_encoder import CrossEncoder

_FIRST = 4
"""Candidates that are scored before the rate is known."""


@dataclass(frozen=True)
class Ranking(Sequence[Hit]):
    """The hits of one query, best first; a sequence of them.

    Attributes:
        hits: those that were reranked, then, where the time was up, the others in their first order.
        reranked: how many candidates the reranker scored.
        candidates: how many there were.
        seconds: of each stage, "retrieve" and "rerank"; of a batch of queries "retrieve" is the query's share.
    """

    hits: tuple[Hit, ...]
    reranked: int
    candidates: int
    seconds: Mapping[str, float]

    def __getitem__(self, i: Any) -> Any:
        return self.hits[i]

    def __len__(self) -> int:
        return len(self.hits)


class Pipeline:
    """Retrieves candidates, reranks them.

    Args:
        retriever: the first stage.
        reranker: scores (query, document) pairs.
        candidates: documents that the first stage gives to the second.
        top_k: hits that are returned.
        weight: of the reranker's score beside the first stage's, between 0 and 1: both are standardised over the
            candidates that were reranked, and added (see `fusion.weighted`). None orders by the reranker alone, which
            suits one that ranks far better than the first stage; a small one, or one that was trained for another
            domain, often does better beside it. `Hit.scores` has "rerank", and "weighted" what they were ordered by.

    ::

        pipeline = Pipeline(Retriever(encoder, documents), CrossEncoder("ms-marco-MiniLM-L6-v2"))
        ranking = pipeline("how do I return an item?", within=0.2)
        ranking[0].text, ranking[0].scores, ranking.reranked
    """

    def __init__(
        self,
        retriever: Retriever,
        reranker: CrossEncoder,
        candidates: int = 100,
        top_k: int = 10,
        *,
        weight: float | None = None,
    ) -> None:
        for name, value in (("candidates", candidates), ("top_k", top_k)):
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if (labels := getattr(reranker, "num_labels", 1)) != 1:
            raise ValueError(f"a reranker gives one score a pair; this model has {labels} labels")
        self.retriever, self.reranker = retriever, reranker
        self.candidates, self.top_k = candidates, top_k
        self.weight = None if weight is None else checked_weight(weight)

    def __repr__(self) -> str:
        weight = "" if self.weight is None else f", weight={self.weight}"
        name = getattr(self.reranker, "name", self.reranker)
        return f"Pipeline({self.retriever!r}, {name!r}, candidates={self.candidates}, top_k={self.top_k}{weight})"

    def __call__(self, query: Any, top_k: int | None = None, within: float | None = None) -> Any:
        """The best documents for a query, or for each of several.

        Args:
            query: a text, or a list of them.
            top_k: hits that are returned; None is the pipeline's.
            within: seconds for one query, retrieval included: as many of the best candidates are reranked as fit, by
                the rate that is measured on the way. `Ranking.reranked` says how many those were; the others follow
                them in their first order.

        Returns:
            A `Ranking`; a list of them where several queries are given.
        """
        single = isinstance(query, str)
        queries = [query] if single else list(query)
        for i, text in enumerate(queries):
            if not isinstance(text, str):
                raise InvalidInput(f"query {i} is {name_of(text)}, not a text")
        if within is not None and not within > 0:
            raise ValueError(f"within must be a positive number of seconds, not {within!r}")
        wanted = self.top_k if top_k is None else top_k
        begin = time.perf_counter()
        found = self.retriever.find(queries, max(self.candidates, wanted))
        share = (time.perf_counter() - begin) / max(len(queries), 1)
        rankings = [
            self._rerank(text, hits, wanted, share, None if within is None else within - share)
            for text, hits in zip(queries, found, strict=True)
        ]
        return rankings[0] if single else rankings

    def _rerank(self, query: str, hits: list[Hit], top_k: int, retrieving: float, left: float | None) -> Ranking:
        begin = time.perf_counter()
        scores: list[float] = []
        step = len(hits) if left is None else min(_FIRST, len(hits)) if left > 0 else 0
        while len(scores) < len(hits) and step > 0:
            texts = [hit.text for hit in hits[len(scores) : len(scores) + step]]
            scores += self.reranker.predict([(query, text) for text in texts]).tolist()
            if left is not None:
                spent = time.perf_counter() - begin
                # Half of what fits by the mean rate so far: candidates differ in length.
                step = min(int((left - spent) / spent * len(scores)) // 2, 4 * len(scores))
        seen = self._scored(hits[: len(scores)], scores)
        seen.sort(key=lambda hit: -hit.score)
        spent = time.perf_counter() - begin
        ordered = (*seen, *hits[len(scores) :])
        return Ranking(ordered[:top_k], len(scores), len(hits), {"retrieve": retrieving, "rerank": spent})

    def _scored(self, hits: list[Hit], scores: list[float]) -> list[Hit]:
        """The hits with what the reranker, and its weight, make of them."""
        if self.weight is None:
            named = ({"rerank": score} for score in scores)
        else:
            both = weighted([hit.score for hit in hits], scores, self.weight).tolist()
            named = ({"rerank": score, "weighted": sum_} for score, sum_ in zip(scores, both, strict=True))
        return [
            replace(hit, score=list(new.values())[-1], scores={**hit.scores, **new})
            for hit, new in zip(hits, named, strict=True)
        ]
