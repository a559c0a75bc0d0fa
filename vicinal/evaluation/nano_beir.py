"""Retrieval on the small sets of NanoBEIR."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vicinal.evaluation import nano_data
from vicinal.evaluation.base import BaseEvaluator
from vicinal.evaluation.information_retrieval import InformationRetrievalEvaluator
from vicinal.evaluation.similarities import grid_functions
from vicinal.similarity import SimilarityFunction

Prompts = str | Mapping[str, str] | None


class NanoBEIREvaluator(BaseEvaluator):
    """`InformationRetrievalEvaluator` on each of the 13 sets of NanoBEIR, and the mean over them.

    Metrics: those of each set as `Nano{Set}_{similarity}_{metric}@{k}`, and their aggregates as
    `NanoBEIR_{aggregate_key}_...`; the primary one is the aggregate of nDCG at the largest k.

    Args:
        dataset_names: sets, as `vicinal.evaluation.nano_data.SETS` lists them; None for all.
        dataset_id: the collection on the hub; or a folder of the same form. The sets are loaded when the evaluator is
            made.
        aggregate_fn: from the list of a metric over the sets to one number.
        aggregate_key: what to call it.
        query_prompts, corpus_prompts: one prompt, or one a set.
        mrr_at_k, ...: all others as in `InformationRetrievalEvaluator`.

    Raises:
        MissingExtra: the package datasets is not installed. DataNotFound: the collection cannot be had.
        ValueError: an unknown set, or a set without a prompt where others have one.
    """

    information_retrieval_class = InformationRetrievalEvaluator

    def __init__(
        self,
        dataset_names: Sequence[str] | None = None,
        dataset_id: str = "sentence-transformers/NanoBEIR-en",
        mrr_at_k: Sequence[int] = (10,),
        ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,),
        show_progress_bar: bool | None = False,
        batch_size: int = 32,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        score_functions: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        main_score_function: str | SimilarityFunction | None = None,
        aggregate_fn: Callable[[list[float]], Any] = np.mean,
        aggregate_key: str = "mean",
        query_prompts: Prompts = None,
        corpus_prompts: Prompts = None,
        write_predictions: bool = False,
    ) -> None:
        super().__init__()
        self.dataset_names = list(nano_data.SETS if dataset_names is None else dataset_names)
        nano_data.check_names(self.dataset_names)
        self.dataset_id = dataset_id
        self.aggregate_fn, self.aggregate_key = aggregate_fn, aggregate_key
        self.query_prompts = _each(query_prompts, self.dataset_names, "query_prompts")
        self.corpus_prompts = _each(corpus_prompts, self.dataset_names, "corpus_prompts")
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        self.score_functions = score_functions
        self.name = f"NanoBEIR_{aggregate_key}{f'_{truncate_dim}' if truncate_dim else ''}"
        self.csv_file = f"NanoBEIR_evaluation_{aggregate_key}_results.csv"
        options: dict[str, Any] = {
            "mrr_at_k": mrr_at_k,
            "ndcg_at_k": ndcg_at_k,
            "accuracy_at_k": accuracy_at_k,
            "precision_recall_at_k": precision_recall_at_k,
            "map_at_k": map_at_k,
            "show_progress_bar": show_progress_bar,
            "batch_size": batch_size,
            "write_csv": write_csv,
            "truncate_dim": truncate_dim,
            "score_functions": score_functions,
            "main_score_function": main_score_function,
            "write_predictions": write_predictions,
        }
        self.evaluators = [self._loaded(name, options) for name in self.dataset_names]
        self.csv_headers = self.evaluators[0].csv_headers

    def _loaded(self, name: str, options: dict[str, Any]) -> InformationRetrievalEvaluator:
        data = nano_data.load(self.dataset_id, name)
        return self.information_retrieval_class(
            data.queries,
            data.corpus,
            data.relevant,
            name=f"Nano{nano_data.SETS[name.lower()]}{f'_{self.truncate_dim}' if self.truncate_dim else ''}",
            query_prompt=self.query_prompts.get(name),
            corpus_prompt=self.corpus_prompts.get(name),
            **options,
        )

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics of each set, and over all."""
        names = sorted(self.score_functions or grid_functions(model))
        first = self.evaluators[0]
        self.csv_headers = first.headers(names)
        run = self._begin(output_path, epoch, steps)
        found = {evaluator.name: evaluator(model, output_path, epoch, steps) for evaluator in self.evaluators}
        every, overall = nano_data.aggregated(found, self.aggregate_fn)
        self.primary_metric = first.primary(lambda name, k: overall[f"{name}_ndcg@{k}"], names)
        row = [overall[f"{name}_{metric}@{k}"] for name in names for metric, k in first.columns()]
        return every | self._finish(run, model, overall, row)

    def store_metrics_in_model_card_data(
        self, model: Any, metrics: dict[str, Any], epoch: int = 0, step: int = 0
    ) -> None:
        """Only of several sets: the aggregate over one is what the set itself has told."""
        if len(self.dataset_names) > 1:
            super().store_metrics_in_model_card_data(model, metrics, epoch, step)

    def get_config_dict(self) -> dict[str, Any]:
        """The sets, and truncate_dim and prompts where they are set."""
        settings = {name: getattr(self, name) for name in ("truncate_dim", "query_prompts", "corpus_prompts")}
        chosen = {name: value for name, value in settings.items() if value}
        return {"dataset_names": self.dataset_names, "dataset_id": self.dataset_id} | chosen


def _each(prompts: Prompts, names: Sequence[str], argument: str) -> dict[str, str]:
    """A prompt for each set, or none at all.

    Raises:
        ValueError: some sets have one and others not.
    """
    if prompts is None:
        return {}
    if isinstance(prompts, str):
        return dict.fromkeys(names, prompts)
    if missing := [name for name in names if name not in prompts]:
        raise ValueError(f"{argument} has no prompt for {', '.join(missing)}: give one a set, '' for none")
    return dict(prompts)
