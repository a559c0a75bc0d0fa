"""Are the sentences that are nearest to each other duplicates?"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from vicinal.errors import InvalidData
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import EncodingEvaluator
from vicinal.similarity import paraphrase_mining


class ParaphraseMiningEvaluator(EncodingEvaluator):
    """F1 and average precision of finding duplicates among sentences by `paraphrase_mining`.

    Metrics: `average_precision` (primary), `f1`, `precision`, `recall` and `threshold`, those of the best F1.

    Args:
        sentences_map: sentences by id.
        duplicates_list: pairs of ids. Pairs of which a sentence is missing are left out.
        duplicates_dict: the same as {id: {id: True}}, in either direction.
        add_transitive_closure: what is a duplicate of a duplicate is one too.
        query_chunk_size, corpus_chunk_size, max_pairs, top_k: given to `paraphrase_mining`.
        show_progress_bar, batch_size, name, write_csv, truncate_dim: as in `EmbeddingSimilarityEvaluator`.

    Raises:
        InvalidData: there are no sentences.
    """

    def __init__(
        self,
        sentences_map: Mapping[Any, str],
        duplicates_list: Iterable[tuple[Any, Any]] | None = None,
        duplicates_dict: Mapping[Any, Mapping[Any, bool]] | None = None,
        add_transitive_closure: bool = False,
        query_chunk_size: int = 5000,
        corpus_chunk_size: int = 100000,
        max_pairs: int = 500000,
        top_k: int = 100,
        show_progress_bar: bool | None = False,
        batch_size: int = 16,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        if not sentences_map:
            raise InvalidData("there are no sentences to mine")
        self.ids, self.sentences = list(sentences_map), list(sentences_map.values())
        self.add_transitive_closure = add_transitive_closure
        self.query_chunk_size, self.corpus_chunk_size = query_chunk_size, corpus_chunk_size
        self.max_pairs, self.top_k = max_pairs, top_k
        self.show_progress_bar = show_progress_bar
        self.batch_size = batch_size
        self.name = name
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        number = {sentence: i for i, sentence in enumerate(self.ids)}
        said = [*(duplicates_list or ()), *_pairs(duplicates_dict or {})]
        pairs = {
            (min(a, b), max(a, b))
            for a, b in ((number[x], number[y]) for x, y in said if x in number and y in number)
            if a != b
        }
        self.duplicates = _closed(pairs) if add_transitive_closure else pairs
        self.total_num_duplicates = len(self.duplicates)
        self.csv_file = f"paraphrase_mining_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = ["epoch", "steps", "precision", "recall", "f1", "threshold", "average_precision"]
        self.primary_metric = "average_precision"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics."""
        run = self._begin(output_path, epoch, steps)
        pairs = paraphrase_mining(
            model,
            self.sentences,
            show_progress_bar=bool(self.show_progress_bar),
            batch_size=self.batch_size,
            query_chunk_size=self.query_chunk_size,
            corpus_chunk_size=self.corpus_chunk_size,
            max_pairs=self.max_pairs,
            top_k=self.top_k,
            truncate_dim=self.truncate_dim,
        )
        scores = np.array([score for score, _, _ in pairs], np.float64)
        labels = np.array([(i, j) in self.duplicates for _, i, j in pairs], np.int64)
        total = self.total_num_duplicates
        best = m.best_f1(scores, labels, total)
        found = {
            "average_precision": m.average_precision(scores, labels, total),
            "f1": best.f1,
            "precision": best.precision,
            "recall": best.recall,
            "threshold": best.threshold,
        }
        row = [found[column] for column in self.csv_headers[2:]]
        return self._finish(run, model, found, row)

    def get_config_dict(self) -> dict[str, Any]:
        """What is mined, and truncate_dim where it is set."""
        names = ("add_transitive_closure", "max_pairs", "top_k")
        return {name: getattr(self, name) for name in names} | super().get_config_dict()


def _pairs(duplicates: Mapping[Any, Mapping[Any, bool]]) -> Iterator[tuple[Any, Any]]:
    for first, others in duplicates.items():
        for second, there in others.items():
            if there:
                yield first, second


def _closed(pairs: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """All pairs within each connected group, smaller number first."""
    group: dict[Hashable, list[int]] = {}
    for a, b in pairs:
        first, second = group.setdefault(a, [a]), group.setdefault(b, [b])
        if first is not second:
            small, large = sorted((first, second), key=len)
            large += small
            group.update(dict.fromkeys(small, large))
    groups = {id(members): members for members in group.values()}
    return {pair for members in groups.values() for pair in combinations(sorted(members), 2)}
