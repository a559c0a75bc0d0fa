"""Does a pair scorer rank the relevant documents first, and better than the first stage did?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vicinal.cross_encoder.evaluation.base import PredictingEvaluator
from vicinal.errors import InvalidData
from vicinal.evaluation.reranking import ranking_metrics, samples_of

Judged = tuple[float, float, float]
"""Average precision, reciprocal rank, nDCG."""

_NOTHING: Judged = (0.0, 0.0, 0.0)


class CrossEncoderRerankingEvaluator(PredictingEvaluator):
    """MAP, MRR and nDCG of documents ranked by a model's scores; of the first stage's ranking too, where it is given.

    Metrics: `map`, `mrr@{at_k}`, `ndcg@{at_k}` (primary), and with a first stage the same of it under `base_...`.

    Args:
        samples: {"query": text, "positive": texts, "negative": texts}, or with a first stage {"query": text,
            "positive": texts, "documents": texts, best first}. Documents that are among the positives are relevant.
        at_k: how many of the first documents MRR and nDCG look at; `mrr_at_k` is its older name.
        always_rerank_positives: rank positives that the first stage missed too; False judges what a pipeline gives.
        name, write_csv: see `BaseEvaluator`.
        prompt_name, batch_size, show_progress_bar: given to the model's `predict`.

    Raises:
        InvalidData: a sample lacks a key, or has both "negative" and "documents"; or there are none.
    """

    def __init__(
        self,
        samples: Sequence[Mapping[str, Any]] | Mapping[Any, Mapping[str, Any]],
        at_k: int = 10,
        always_rerank_positives: bool = True,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 64,
        show_progress_bar: bool | None = False,
        write_csv: bool = True,
        mrr_at_k: int | None = None,
    ) -> None:
        super().__init__()
        self.samples = samples_of(samples, ("query", "positive"))
        if not self.samples:
            raise InvalidData("there are no samples to rank")
        for number, sample in enumerate(self.samples):
            if ("negative" in sample) == ("documents" in sample):
                both = "has both" if "negative" in sample else "has neither"
                raise InvalidData(f"sample {number} needs either 'negative' or 'documents', but {both}")
        self.at_k = at_k if mrr_at_k is None else mrr_at_k
        self.always_rerank_positives = always_rerank_positives
        self.name = name
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.csv_file = f"CrossEncoderRerankingEvaluator{f'_{name}' if name else ''}_results_@{self.at_k}.csv"
        self.csv_headers = ["epoch", "steps", "MAP", f"MRR@{self.at_k}", f"NDCG@{self.at_k}"]
        self.primary_metric = f"ndcg@{self.at_k}"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics."""
        run = self._begin(output_path, epoch, steps)
        lists = [self._candidates(sample) for sample in self.samples]
        pairs = [(s["query"], text) for s, (texts, _) in zip(self.samples, lists, strict=True) for text in texts]
        scores = self.predictions(model, pairs) if pairs else np.empty(0)
        found, start = [], 0
        for texts, relevant in lists:
            found.append(self._judged(scores[start : start + len(texts)], relevant))
            start += len(texts)
        means = self._means(found)
        base = self._means([self._first_stage(sample) for sample in self.samples if "documents" in sample])
        both = means | {f"base_{key}": value for key, value in base.items()}
        return self._finish(run, model, both, means.values())

    def _candidates(self, sample: Mapping[str, Any]) -> tuple[list[str], list[int]]:
        """The documents to rank, and which are relevant; none where no relevant one is among them."""
        positive = list(sample["positive"])
        if "negative" in sample:
            texts, relevant = positive + list(sample["negative"]), [1] * len(positive)
        elif self.always_rerank_positives:
            known = set(positive)
            texts, relevant = positive + [t for t in sample["documents"] if t not in known], [1] * len(positive)
        else:
            known = set(positive)
            texts, relevant = list(sample["documents"]), [int(text in known) for text in sample["documents"]]
        relevant += [0] * (len(texts) - len(relevant))
        return (texts, relevant) if any(relevant) else ([], [])

    def _first_stage(self, sample: Mapping[str, Any]) -> Judged:
        """Of the documents in the order given, with the positives that are missing at the end."""
        known = set(sample["positive"])
        relevant = [int(text in known) for text in sample["documents"]]
        if not any(relevant):
            return _NOTHING
        relevant += [1] * max(0, len(sample["positive"]) - sum(relevant))
        return self._judged(np.arange(len(relevant), 0, -1), relevant)

    def _judged(self, scores: Any, relevant: Sequence[int]) -> Judged:
        if not any(relevant):
            return _NOTHING
        return ranking_metrics(scores, relevant, self.at_k)

    def _means(self, found: Sequence[Judged]) -> dict[str, float]:
        names = ("map", f"mrr@{self.at_k}", f"ndcg@{self.at_k}")
        return dict(zip(names, np.mean(found, axis=0).tolist(), strict=True)) if found else {}

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: dict[str, Any], epoch: int = 0, step: int = 0
    ) -> None:
        """With a first stage, each metric as text with what it gained over it: "0.7105 (+0.2055)"."""
        super().store_metrics_in_model_card_data(model, gains_shown(metrics, self.name), epoch, step)

    def get_config_dict(self) -> dict[str, Any]:
        """at_k, and with a first stage always_rerank_positives."""
        staged = {"always_rerank_positives": self.always_rerank_positives} if "documents" in self.samples[0] else {}
        return {"at_k": self.at_k} | staged


def gains_shown(metrics: Mapping[str, float], name: str) -> dict[str, Any]:
    """Metrics `{name}_{metric}` as text with their gain over `{name}_base_{metric}`; as they are without these."""
    lead = f"{name}_" if name else ""
    plain = {key: value for key, value in metrics.items() if not key.startswith(f"{lead}base_")}
    if len(plain) == len(metrics):
        return dict(metrics)
    base = {key: metrics[f"{lead}base_{key.removeprefix(lead)}"] for key in plain}
    return {key: f"{value:.4f} ({value - base[key]:+.4f})" for key, value in plain.items()}
