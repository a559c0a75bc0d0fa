"""Reranking BM25 results on the small sets of NanoBEIR."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vicinal.cross_encoder.evaluation.reranking import CrossEncoderRerankingEvaluator, gains_shown
from vicinal.evaluation import nano_data
from vicinal.evaluation.base import BaseEvaluator

_ARGUMENTS = ("arguana", "touche2020")
"""Left out by default: finding counter-arguments is another task."""


class CrossEncoderNanoBEIREvaluator(BaseEvaluator):
    """`CrossEncoderRerankingEvaluator` on the best BM25 results of NanoBEIR's sets, and the mean over them.

    Metrics: of each set as `Nano{Set}_R{rerank_k}_{metric}`, and their aggregates as
    `NanoBEIR_R{rerank_k}_{aggregate_key}_{metric}`, with the first stage's under `base_...`; the primary one is the
    aggregate of nDCG.

    Args:
        dataset_names: sets, as `vicinal.evaluation.nano_data.SETS` lists them; None for all but arguana and touche2020.
        dataset_id: the collection on the hub, with its subset "bm25"; or a folder of the same form.
        rerank_k: how many of the BM25 results are ranked.
        aggregate_fn, aggregate_key: from the list of a metric over the sets to one number, and what to call it.
        at_k, ...: all others as in `CrossEncoderRerankingEvaluator`.

    Raises:
        MissingExtra: the package datasets is not installed. DataNotFound: the collection cannot be had.
        ValueError: an unknown set.
    """

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str = "sentence-transformers/NanoBEIR-en",
        rerank_k: int = 100,
        at_k: int = 10,
        always_rerank_positives: bool = True,
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = False,
        write_csv: bool = True,
        aggregate_fn: Callable[[list[float]], Any] = np.mean,
        aggregate_key: str = "mean",
    ) -> None:
        super().__init__()
        every = [name for name in nano_data.SETS if name not in _ARGUMENTS]
        self.dataset_names = every if dataset_names is None else list(dataset_names)
        nano_data.check_names(self.dataset_names)
        self.dataset_id = dataset_id
        self.rerank_k, self.at_k, self.always_rerank_positives = rerank_k, at_k, always_rerank_positives
        self.aggregate_fn, self.aggregate_key = aggregate_fn, aggregate_key
        self.write_csv = write_csv
        self.name = f"NanoBEIR_R{rerank_k}_{aggregate_key}"
        self.csv_file = f"NanoBEIR_evaluation_{aggregate_key}_results.csv"
        self.csv_headers = ["epoch", "steps", "MAP", f"MRR@{at_k}", f"NDCG@{at_k}"]
        self.primary_metric = f"ndcg@{at_k}"
        options: dict[str, Any] = {
            "at_k": at_k,
            "always_rerank_positives": always_rerank_positives,
            "prompt_name": prompt_name,
            "batch_size": batch_size,
            "show_progress_bar": show_progress_bar,
            "write_csv": write_csv,
        }
        self.evaluators = [self._loaded(name, options) for name in self.dataset_names]

    def _loaded(self, name: str, options: dict[str, Any]) -> CrossEncoderRerankingEvaluator:
        data = nano_data.load(self.dataset_id, name, first_stage=True)
        samples = [
            {
                "query": data.queries[query],
                "positive": [data.corpus[i] for i in sorted(data.relevant[query])],
                "documents": [data.corpus[i] for i in ids[: self.rerank_k]],
            }
            for query, ids in (data.first_stage or {}).items()
        ]
        title = f"Nano{nano_data.SETS[name.lower()]}_R{self.rerank_k}"
        return CrossEncoderRerankingEvaluator(samples, name=title, **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics of each set, and over all."""
        run = self._begin(output_path, epoch, steps)
        found = {evaluator.name: evaluator(model, output_path, epoch, steps) for evaluator in self.evaluators}
        every, overall = nano_data.aggregated(found, self.aggregate_fn)
        self.primary_metric = f"ndcg@{self.at_k}"
        row = [overall[column.lower()] for column in self.csv_headers[2:]]
        return every | self._finish(run, model, overall, row)

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: dict[str, Any], epoch: int = 0, step: int = 0
    ) -> None:
        """Each metric as text with what it gained over the first stage."""
        super().store_metrics_in_model_card_data(model, gains_shown(metrics, self.name), epoch, step)

    def get_config_dict(self) -> dict[str, Any]:
        """The sets, and how they are ranked."""
        names = ("dataset_names", "dataset_id", "rerank_k", "at_k", "always_rerank_positives")
        return {name: getattr(self, name) for name in names}
