"""Do queries find their documents in a corpus?"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vicinal.errors import InvalidData
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import EncodingEvaluator
from vicinal.evaluation.similarities import grid_functions
from vicinal.similarity import SimilarityFunction
from vicinal.similarity.arrays import as_rows, beside, check_dimensions, check_positive
from vicinal.similarity.measures import measure_of
from vicinal.similarity.topk import top_k

Doubles: TypeAlias = NDArray[np.float64]
Ranking: TypeAlias = tuple[Doubles, NDArray[np.int64]]
"""Scores and rows of the sorted corpus, (queries, k), best first."""

_NAMES = ("query embeddings", "corpus embeddings")


class InformationRetrievalEvaluator(EncodingEvaluator):
    """Accuracy, precision, recall, MRR, nDCG and MAP at k of the documents that are nearest to each query.

    Metrics: `{similarity}_accuracy@{k}`, `_precision@`, `_recall@`, `_mrr@`, `_ndcg@`, `_map@`. The primary one is nDCG
    at the largest k, of the main score function, else of the one where it is highest. The search is exact. Of equal
    scores the document with the lower id comes first. No more than `corpus_chunk_size` vectors of documents are held.

    Args:
        queries: texts by id. One without relevant documents is left out.
        corpus: documents by id.
        relevant_docs: by query id, the set of ids of its relevant documents; or a dict of their grades, which nDCG
            counts as gains and in which 0 is irrelevant. Ids that the corpus lacks count as not found.
        corpus_chunk_size: documents at a time.
        mrr_at_k, ndcg_at_k, accuracy_at_k, precision_recall_at_k, map_at_k: the values of k.
        show_progress_bar, batch_size, name, write_csv, truncate_dim: as in `EmbeddingSimilarityEvaluator`.
        score_functions: by name, functions of `vicinal.util`, or any `f(queries, documents)` that takes arrays of
            vectors and gives one score for each pair, higher is better. None for the model's own similarity.
        main_score_function: which of them chooses the primary metric.
        query_prompt, query_prompt_name, corpus_prompt, corpus_prompt_name: given to `encode_query`, `encode_document`.
        write_predictions: also write what was found, as JSON lines.

    Raises:
        InvalidData: the corpus is empty, or no query has a relevant document.
    """

    def __init__(
        self,
        queries: Mapping[Any, Any],
        corpus: Mapping[Any, Any],
        relevant_docs: Mapping[Any, Collection[Any]],
        corpus_chunk_size: int = 50000,
        mrr_at_k: Sequence[int] = (10,),
        ndcg_at_k: Sequence[int] = (10,),
        accuracy_at_k: Sequence[int] = (1, 3, 5, 10),
        precision_recall_at_k: Sequence[int] = (1, 3, 5, 10),
        map_at_k: Sequence[int] = (100,),
        show_progress_bar: bool | None = False,
        batch_size: int = 32,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
        score_functions: Mapping[str, Callable[[Any, Any], Any]] | None = None,
        main_score_function: str | SimilarityFunction | None = None,
        query_prompt: str | None = None,
        query_prompt_name: str | None = None,
        corpus_prompt: str | None = None,
        corpus_prompt_name: str | None = None,
        write_predictions: bool = False,
    ) -> None:
        super().__init__()
        check_positive(corpus_chunk_size=corpus_chunk_size)
        self.relevant_docs = relevant_docs
        self._grades = {qid: grades for qid in queries if (grades := _grades(relevant_docs.get(qid, ())))}
        self.queries_ids = list(self._grades)
        self.queries = [queries[qid] for qid in self.queries_ids]
        self.corpus_ids = list(corpus)
        self.corpus = [corpus[cid] for cid in self.corpus_ids]
        if not self.corpus:
            raise InvalidData("the corpus is empty: there is nothing to be found")
        if not self.queries:
            raise InvalidData(
                f"none of {len(queries)} queries has a relevant document: the keys of relevant_docs must be query ids"
            )
        self.corpus_chunk_size = corpus_chunk_size
        self.mrr_at_k, self.ndcg_at_k, self.accuracy_at_k = list(mrr_at_k), list(ndcg_at_k), list(accuracy_at_k)
        self.precision_recall_at_k, self.map_at_k = list(precision_recall_at_k), list(map_at_k)
        self.show_progress_bar = show_progress_bar
        self.batch_size = batch_size
        self.name = name
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        self.score_functions = dict(score_functions) if score_functions else None
        self.main_score_function = SimilarityFunction(main_score_function) if main_score_function else None
        self.query_prompt, self.query_prompt_name = query_prompt, query_prompt_name
        self.corpus_prompt, self.corpus_prompt_name = corpus_prompt, corpus_prompt_name
        self.write_predictions = write_predictions
        suffix = f"_{name}" if name else ""
        self.csv_file = f"Information-Retrieval_evaluation{suffix}_results.csv"
        self.predictions_file = f"Information-Retrieval_evaluation{suffix}_predictions.jsonl"
        self.csv_headers = self.headers(sorted(self.score_functions or ()))
        self._order = _by_id(self.corpus_ids)

    def columns(self) -> list[tuple[str, int]]:
        """Metrics and their k, in the order of the file."""
        pairs = [("accuracy", k) for k in self.accuracy_at_k]
        pairs += [(metric, k) for k in self.precision_recall_at_k for metric in ("precision", "recall")]
        for metric, ks in (("mrr", self.mrr_at_k), ("ndcg", self.ndcg_at_k), ("map", self.map_at_k)):
            pairs += [(metric, k) for k in ks]
        return pairs

    def headers(self, names: Iterable[str]) -> list[str]:
        """Columns of the file, for score functions of these names."""
        shown = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall"}
        columns = [f"{shown.get(metric, metric.upper())}@{k}" for metric, k in self.columns()]
        return ["epoch", "steps", *(f"{name}-{column}" for name in names for column in columns)]

    def __call__(
        self,
        model: Any,
        output_path: str | None = None,
        epoch: int = -1,
        steps: int = -1,
        corpus_model: Any = None,
        corpus_embeddings: Any = None,
    ) -> dict[str, float]:
        """The metrics.

        Args:
            corpus_model: encodes the documents in place of `model`.
            corpus_embeddings: (documents, dims), their vectors in the corpus's order, in place of encoding them.
        """
        functions = self.score_functions or grid_functions(model)
        names = sorted(functions)
        self.csv_headers = self.headers(names)
        run = self._begin(output_path, epoch, steps)
        found = self.compute_all_metrics(model, corpus_model, corpus_embeddings, output_path)
        row = [found[name][f"{metric}@k"][k] for name in names for metric, k in self.columns()]
        flat = {
            f"{name}_{metric.removesuffix('@k')}@{k}": value
            for name, metrics in found.items()
            for metric, values in metrics.items()
            for k, value in values.items()
        }
        self.primary_metric = self.primary(lambda name, k: found[name]["ndcg@k"][k], names)
        return self._finish(run, model, flat, row)

    def primary(self, ndcg: Callable[[str, int], float], names: Sequence[str]) -> str | None:
        """The primary metric: nDCG at the largest k, of the main score function or of the best; None without nDCG.

        Args:
            ndcg: its value, for a score function's name and k.
        """
        if not self.ndcg_at_k:
            return None
        k = max(self.ndcg_at_k)
        main = self.main_score_function
        return f"{main.value if main else max(names, key=lambda name: ndcg(name, k))}_ndcg@{k}"

    def compute_all_metrics(
        self, model: Any, corpus_model: Any = None, corpus_embeddings: Any = None, output_path: str | None = None
    ) -> dict[str, dict[str, dict[int, float]]]:
        """The metrics by score function, name ("ndcg@k") and k; writes the predictions, if they are wanted."""
        rankings = self.rank(model, corpus_model, corpus_embeddings)
        if self.write_predictions and output_path is not None:
            self._write_predictions(rankings, output_path)
        return {name: self._means(self.query_metrics(ranking)) for name, ranking in rankings.items()}

    compute_metrices = compute_all_metrics

    # ---- searching -----------------------------------------------------------------------------------------------

    def rank(self, model: Any, corpus_model: Any = None, corpus_embeddings: Any = None) -> dict[str, Ranking]:
        """The best documents for each query, by score function: scores, and rows of the corpus as it is sorted by id.

        Raises:
            InvalidData: `corpus_embeddings` are not as many as the documents.
        """
        functions = self.score_functions or grid_functions(model)
        queries = as_rows(
            self.embed_inputs(
                model, self.queries, "query", prompt=self.query_prompt, prompt_name=self.query_prompt_name
            ),
            _NAMES[0],
        )
        given = None if corpus_embeddings is None else as_rows(corpus_embeddings, _NAMES[1])
        if given is not None and len(given) != len(self.corpus):
            raise InvalidData(f"corpus_embeddings has {len(given)} rows for {len(self.corpus)} documents")
        k = max([1, *(k for _, k in self.columns())])
        best: dict[str, Ranking] = {}
        for start in range(0, len(self.corpus), self.corpus_chunk_size):
            rows = self._order[start : start + self.corpus_chunk_size]
            documents = self._documents(model if corpus_model is None else corpus_model, rows, given)
            check_dimensions(queries, documents, _NAMES)
            for name, function in functions.items():
                near = beside(queries, documents)
                scores, found = top_k(near, documents, k, measure_of(function), len(queries), len(documents), _NAMES)
                best[name] = _merged(best.get(name), (scores, found + start), k)
        return best

    def _documents(self, model: Any, rows: NDArray[np.int64], given: Any) -> Any:
        """Vectors of some documents."""
        if given is not None:
            return given[rows]
        texts = [self.corpus[row] for row in rows.tolist()]
        options = {"prompt": self.corpus_prompt, "prompt_name": self.corpus_prompt_name}
        return as_rows(self.embed_inputs(model, texts, "document", **options), _NAMES[1])

    def _write_predictions(self, rankings: Mapping[str, Ranking], output_path: str) -> None:
        os.makedirs(output_path, exist_ok=True)
        for name, (scores, rows) in rankings.items():
            path = os.path.join(output_path, f"{self.predictions_file.removesuffix('.jsonl')}_{name}.jsonl")
            with open(path, "w", encoding="utf-8") as file:
                for i, qid in enumerate(self.queries_ids):
                    hits = [
                        {"corpus_id": cid, "score": score}
                        for cid, score in zip(self._ids(rows[i]), scores[i].tolist(), strict=True)
                    ]
                    file.write(json.dumps({"query_id": qid, "query": self.queries[i], "results": hits}) + "\n")

    def _ids(self, rows: NDArray[np.int64]) -> list[Any]:
        return [self.corpus_ids[row] for row in self._order[rows].tolist()]

    # ---- judging -------------------------------------------------------------------------------------------------

    def query_metrics(self, ranking: Ranking) -> dict[tuple[str, int], Doubles]:
        """Each metric at each k for each query, (queries,)."""
        gains = np.zeros(ranking[1].shape)
        for i, qid in enumerate(self.queries_ids):
            grades = self._grades[qid]
            gains[i] = [grades.get(cid, 0.0) for cid in self._ids(ranking[1][i])]
        return self._judged(gains)

    def _judged(self, gains: Doubles) -> dict[tuple[str, int], Doubles]:
        relevant = np.array([len(self._grades[qid]) for qid in self.queries_ids])
        ideal = np.zeros((len(relevant), max(1, relevant.max(), *self.ndcg_at_k)))
        for i, qid in enumerate(self.queries_ids):
            ideal[i, : relevant[i]] = sorted(self._grades[qid].values(), reverse=True)
        of: dict[str, Callable[[int], Doubles]] = {
            "accuracy": lambda k: m.accuracy_at(gains, k),
            "precision": lambda k: m.precision_at(gains, k),
            "recall": lambda k: m.recall_at(gains, relevant, k),
            "mrr": lambda k: m.reciprocal_rank_at(gains, k),
            "ndcg": lambda k: m.ndcg_at(gains, ideal, k),
            "map": lambda k: m.average_precision_at(gains, relevant, k),
        }
        return {(metric, k): of[metric](k) for metric, k in self.columns()}

    def compute_metrics(
        self, queries_result_list: Sequence[Sequence[Mapping[str, Any]]]
    ) -> dict[str, dict[int, float]]:
        """The metrics of results that were found in any way.

        Args:
            queries_result_list: for each query of `queries_ids`, its hits: {"corpus_id": ..., "score": ...}.
        """
        gains = np.zeros((len(queries_result_list), max(1, *map(len, queries_result_list))))
        for i, (qid, hits) in enumerate(zip(self.queries_ids, queries_result_list, strict=True)):
            ranked = sorted(hits, key=lambda hit: (-hit["score"], hit["corpus_id"]))
            gains[i, : len(ranked)] = [self._grades[qid].get(hit["corpus_id"], 0.0) for hit in ranked]
        return self._means(self._judged(gains))

    @staticmethod
    def _means(values: Mapping[tuple[str, int], Doubles]) -> dict[str, dict[int, float]]:
        found: dict[str, dict[int, float]] = {f"{metric}@k": {} for metric in _METRICS}
        for (metric, k), numbers in values.items():
            found[f"{metric}@k"][k] = float(numbers.mean())
        return found

    def get_config_dict(self) -> dict[str, Any]:
        """truncate_dim and prompts, where they are set."""
        names = ("query_prompt", "query_prompt_name", "corpus_prompt", "corpus_prompt_name")
        prompts = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return super().get_config_dict() | prompts


_METRICS = ("accuracy", "precision", "recall", "ndcg", "mrr", "map")


def _grades(relevant: Collection[Any]) -> dict[Any, float]:
    """The grade of each relevant document."""
    if isinstance(relevant, Mapping):
        return {cid: float(grade) for cid, grade in relevant.items() if grade > 0}
    return dict.fromkeys(relevant, 1.0)


def _by_id(ids: Sequence[Any]) -> NDArray[np.int64]:
    """The rows in the order of their ids."""
    try:
        return np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    except TypeError as error:
        raise InvalidData(f"corpus ids must be of one kind, so that equal scores have an order ({error})") from None


def _merged(best: Ranking | None, more: Ranking, k: int) -> Ranking:
    """The k best of two rankings, of which all rows of the second come after those of the first."""
    if best is None:
        return more
    scores, rows = (np.concatenate(columns, axis=1) for columns in zip(best, more, strict=True))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
