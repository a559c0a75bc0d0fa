"""Are the relevant ones of a query's documents ranked first?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidData
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import EncodingEvaluator, logger
from vicinal.evaluation.similarities import scores_of
from vicinal.similarity import cos_sim


class RerankingEvaluator(EncodingEvaluator):
    """MAP, MRR and nDCG of documents that are ranked by their similarity with a query.

    Metrics: `map`, `mrr@{at_k}`, `ndcg@{at_k}`, the last one primary. Equal scores count as one: no metric
    depends on the order in which documents are given.

    Args:
        samples: {"query": text, "positive": texts, "negative": texts} each; or a dict of such. A text alone counts as a
            list of one. Samples without a positive or without a negative are left out.
        at_k: how many of the first documents MRR and nDCG look at; `mrr_at_k` is its older name.
        similarity_fct: a function of `vicinal.util`, or any `f(query vector, document vectors)`.
        use_batched_encoding: encode all texts at once; False goes sample by sample, which holds fewer vectors.
        name, write_csv, batch_size, show_progress_bar, truncate_dim: as in `EmbeddingSimilarityEvaluator`.

    Raises:
        InvalidData: a sample lacks a key, or none is left.
    """

    def __init__(
        self,
        samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]],
        at_k: int = 10,
        name: str = "",
        write_csv: bool = True,
        similarity_fct: Callable[[Any, Any], Any] = cos_sim,
        batch_size: int = 64,
        show_progress_bar: bool | None = False,
        use_batched_encoding: bool = True,
        truncate_dim: int | None = None,
        mrr_at_k: int | None = None,
    ) -> None:
        super().__init__()
        rows = samples_of(samples, ("query", "positive", "negative"))
        self.samples = [row for row in rows if row["positive"] and row["negative"]]
        if not self.samples:
            raise InvalidData(
                f"none of {len(rows)} samples has both a positive and a negative: there is nothing to rank"
            )
        self.at_k = at_k if mrr_at_k is None else mrr_at_k
        self.name = name
        self.write_csv = write_csv
        self.similarity_fct = similarity_fct
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.use_batched_encoding = use_batched_encoding
        self.truncate_dim = truncate_dim
        self.csv_file = f"RerankingEvaluator{f'_{name}' if name else ''}_results_@{self.at_k}.csv"
        self.csv_headers = ["epoch", "steps", "MAP", f"MRR@{self.at_k}", f"NDCG@{self.at_k}"]
        self.primary_metric = f"ndcg@{self.at_k}"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics."""
        run = self._begin(output_path, epoch, steps)
        positives = [len(sample["positive"]) for sample in self.samples]
        negatives = [len(sample["negative"]) for sample in self.samples]
        logger.info(
            "%d queries; positives: %d to %d, negatives: %d to %d each",
            len(self.samples), min(positives), max(positives), min(negatives), max(negatives),
        )  # fmt: skip
        found = self.compute_metrics(model)
        named = {"map": found["map"], f"mrr@{self.at_k}": found["mrr"], f"ndcg@{self.at_k}": found["ndcg"]}
        return self._finish(run, model, named, named.values())

    def compute_metrics(self, model: Any) -> dict[str, float]:
        """ "map", "mrr" and "ndcg"."""
        return (
            self.compute_metrics_batched(model) if self.use_batched_encoding else self.compute_metrics_individual(model)
        )

    def compute_metrics_batched(self, model: Any) -> dict[str, float]:
        """All texts encoded at once."""
        queries = self.embed_inputs(model, [sample["query"] for sample in self.samples], "query")
        texts = [text for sample in self.samples for text in (*sample["positive"], *sample["negative"])]
        documents = self.embed_inputs(model, texts, "document")
        found, start = [], 0
        for sample, query in zip(self.samples, queries, strict=True):
            end = start + len(sample["positive"]) + len(sample["negative"])
            found.append(self._judged(sample, scores_of(self.similarity_fct, query, documents[start:end])))
            start = end
        return _means(found)

    def compute_metrics_individual(self, model: Any) -> dict[str, float]:
        """Encoded sample by sample."""
        found = []
        for sample in self.samples:
            query = self.embed_inputs(model, [sample["query"]], "query")
            documents = self.embed_inputs(model, [*sample["positive"], *sample["negative"]], "document")
            found.append(self._judged(sample, scores_of(self.similarity_fct, query, documents)))
        return _means(found)

    compute_metrices, compute_metrices_batched = compute_metrics, compute_metrics_batched
    compute_metrices_individual = compute_metrics_individual

    def _judged(self, sample: Mapping[str, Any], scores: NDArray[np.float64]) -> tuple[float, float, float]:
        relevant = np.repeat([1, 0], [len(sample["positive"]), len(sample["negative"])])
        return ranking_metrics(scores, relevant, self.at_k)

    def get_config_dict(self) -> dict[str, Any]:
        """at_k, and truncate_dim where it is set."""
        return {"at_k": self.at_k} | super().get_config_dict()


def samples_of(samples: Any, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    """Samples as dicts whose texts are in lists, all but the query.

    Raises:
        InvalidData: one lacks a key; its number and the key are named.
    """
    rows = list(samples.values() if isinstance(samples, Mapping) else samples)
    for number, row in enumerate(rows):
        if missing := [key for key in keys if key not in row]:
            has = ", ".join(map(repr, row)) or "nothing"
            raise InvalidData(f"sample {number} needs {', '.join(map(repr, missing))}; it has {has}")
    return [
        {key: [value] if isinstance(value, str) and key != "query" else value for key, value in row.items()}
        for row in rows
    ]


def ranking_metrics(scores: Any, relevant: Any, k: int) -> tuple[float, float, float]:
    """Average precision, reciprocal rank at k and nDCG at k of one ranking.

    Args:
        scores, relevant: (documents,); relevant is 1 or 0.
    """
    first = m.reciprocal_rank_of_scores(scores, relevant, k)
    return m.average_precision(scores, relevant), first, m.ndcg_of_scores(scores, relevant, k)


def _means(found: Sequence[tuple[float, float, float]]) -> dict[str, float]:
    return dict(zip(("map", "mrr", "ndcg"), np.mean(found, axis=0).tolist(), strict=True))
