"""Is each sentence nearest to its own translation?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.evaluation.base import EncodingEvaluator, check_lengths
from vicinal.similarity import cos_sim
from vicinal.similarity.arrays import as_rows
from vicinal.similarity.measures import measure_of
from vicinal.similarity.topk import top_k

_SHOWN = 5


class TranslationEvaluator(EncodingEvaluator):
    """Share of sentences whose nearest one in the other language, by cosine, is their translation.

    Metrics: `src2trg_accuracy`, `trg2src_accuracy` and `mean_accuracy` (primary). A target with the same text as the
    right one is right too.

    Args:
        source_sentences, target_sentences: texts; row i of the one translates row i of the other.
        print_wrong_matches: write each wrong match of a source to standard output, with what is nearest.
        show_progress_bar, batch_size, name, write_csv, truncate_dim: as in `EmbeddingSimilarityEvaluator`.

    Raises:
        InvalidData: the columns differ in length or are empty.
    """

    def __init__(
        self,
        source_sentences: Sequence[str],
        target_sentences: Sequence[str],
        show_progress_bar: bool | None = False,
        batch_size: int = 16,
        name: str = "",
        print_wrong_matches: bool = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        check_lengths(source_sentences=source_sentences, target_sentences=target_sentences)
        self.source_sentences, self.target_sentences = source_sentences, target_sentences
        self.show_progress_bar = show_progress_bar
        self.batch_size = batch_size
        self.name = name
        self.print_wrong_matches = print_wrong_matches
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        self.csv_file = f"translation_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = ["epoch", "steps", "src2trg", "trg2src"]
        self.primary_metric = "mean_accuracy"

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The accuracies."""
        run = self._begin(output_path, epoch, steps)
        sources = as_rows(self.embed_inputs(model, self.source_sentences), "source embeddings")
        targets = as_rows(self.embed_inputs(model, self.target_sentences), "target embeddings")
        forth = self._right(sources, targets, self.target_sentences, self.print_wrong_matches)
        back = self._right(targets, sources, self.source_sentences, False)
        found = {"src2trg_accuracy": forth, "trg2src_accuracy": back, "mean_accuracy": (forth + back) / 2}
        return self._finish(run, model, found, [forth, back])

    def _right(self, queries: Any, corpus: Any, texts: Sequence[str], shown: bool) -> float:
        """Share of queries whose nearest text is that of their own row."""
        n = len(texts)
        scores, rows = top_k(queries, corpus, _SHOWN if shown else 1, measure_of(cos_sim), n, n, ("source", "target"))
        right = np.array([texts[row] == texts[i] for i, row in enumerate(rows[:, 0].tolist())])
        for i in np.flatnonzero(~right).tolist() if shown else ():
            self._show(i, scores[i], rows[i])
        return float(right.mean())

    def _show(self, i: int, scores: NDArray[np.float64], rows: NDArray[np.int64]) -> None:
        best = [
            f"    {row}  {score:.4f}  {self.target_sentences[row]}" for row, score in zip(rows, scores, strict=True)
        ]
        lines = [
            f"source {i} is nearest to target {rows[0]}, not to target {i}:",
            f"  source: {self.source_sentences[i]}",
            f"  its translation: {self.target_sentences[i]}",
            "  nearest targets:",
            *best,
        ]
        sys.stdout.write("\n".join(lines) + "\n")
