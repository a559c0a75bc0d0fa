"""Can a threshold on similarity tell pairs that mean the same from pairs that do not?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vicinal.errors import InvalidData
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import EncodingEvaluator, check_lengths
from vicinal.evaluation.similarities import checked, names_for, pair_scores

_COLUMNS = ("accuracy", "accuracy_threshold", "f1", "precision", "recall", "f1_threshold", "ap", "mcc")
_DISTANCES = ("euclidean", "manhattan")


class BinaryClassificationEvaluator(EncodingEvaluator):
    """Accuracy, F1, precision, recall, average precision and Matthews' correlation of pairs labelled 0 or 1.

    Metrics: `{similarity}_accuracy`, `_accuracy_threshold`, `_f1`, `_f1_threshold`, `_precision`, `_recall`, `_ap`,
    `_mcc`; accuracy and F1 at the threshold that is best for each, the others of F1's threshold. With several
    similarities also `max_...`. Thresholds of "euclidean" and "manhattan" are distances: what is nearer counts as 1.
    The primary metric is average precision.

    Args:
        sentences1, sentences2: texts; row i of both is a pair.
        labels: 1 where a pair means the same, else 0.
        similarity_fn_names: of "cosine", "dot", "euclidean", "manhattan"; None for the model's own.
        name, batch_size, show_progress_bar, write_csv, truncate_dim: as in `EmbeddingSimilarityEvaluator`.

    Raises:
        InvalidData: the columns differ in length or are empty, or a label is neither 0 nor 1.
    """

    def __init__(
        self,
        sentences1: Sequence[str],
        sentences2: Sequence[str],
        labels: Sequence[int],
        name: str = "",
        batch_size: int = 32,
        show_progress_bar: bool | None = False,
        write_csv: bool = True,
        truncate_dim: int | None = None,
        similarity_fn_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        check_lengths(sentences1=sentences1, sentences2=sentences2, labels=labels)
        odd = next(((row, label) for row, label in enumerate(labels) if label not in (0, 1)), None)
        if odd is not None:
            raise InvalidData(f"labels must be 0 or 1, but row {odd[0]} has {odd[1]!r}")
        self.sentences1, self.sentences2, self.labels = sentences1, sentences2, labels
        self.name = name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        self.similarity_fn_names = checked(similarity_fn_names)
        self.csv_file = f"binary_classification_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = self._headers(self.similarity_fn_names)

    @staticmethod
    def _headers(names: Iterable[str]) -> list[str]:
        return ["epoch", "steps", *(f"{name}_{column}" for name in names for column in _COLUMNS)]

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> BinaryClassificationEvaluator:
        """From `InputExample`s of two texts."""
        rows = list(examples)
        first, second = [row.texts[0] for row in rows], [row.texts[1] for row in rows]
        return cls(first, second, [row.label for row in rows], **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics."""
        names = names_for(model, self.similarity_fn_names)
        self.csv_headers = self._headers(names)
        run = self._begin(output_path, epoch, steps)
        found = self.compute_metrics(model)
        row = [found[name][column] for name in names for column in _COLUMNS]
        flat = {f"{name}_{metric}": value for name, values in found.items() for metric, value in values.items()}
        if len(names) > 1:
            flat |= {f"max_{metric}": max(found[name][metric] for name in names) for metric in found[names[0]]}
        self.primary_metric = "max_ap" if len(names) > 1 else f"{names[0]}_ap"
        return self._finish(run, model, flat, row)

    def compute_metrics(self, model: Any) -> dict[str, dict[str, float]]:
        """The metrics by similarity and name."""
        n = len(self.sentences1)
        vectors = self.embed_inputs(model, [*self.sentences1, *self.sentences2])
        labels = np.asarray(self.labels)
        found = {}
        for name in names_for(model, self.similarity_fn_names):
            scores = pair_scores(name, vectors[:n], vectors[n:])
            sign = -1.0 if name in _DISTANCES else 1.0
            accuracy, accuracy_threshold = m.best_accuracy(scores, labels)
            best = m.best_f1(scores, labels)
            found[name] = {
                "accuracy": accuracy,
                "accuracy_threshold": sign * accuracy_threshold,
                "f1": best.f1,
                "f1_threshold": sign * best.threshold,
                "precision": best.precision,
                "recall": best.recall,
                "ap": m.average_precision(scores, labels),
                "mcc": m.matthews(labels, scores >= best.threshold),
            }
        return found

    compute_metrices = compute_metrics

    @staticmethod
    def find_best_acc_and_threshold(
        scores: ArrayLike, labels: ArrayLike, high_score_more_similar: bool
    ) -> tuple[float, float]:
        """The highest accuracy that a threshold gives, and that threshold."""
        sign = 1 if high_score_more_similar else -1
        accuracy, threshold = m.best_accuracy(sign * np.asarray(scores), labels)
        return accuracy, threshold if len(np.asarray(scores)) == 0 else sign * threshold

    @staticmethod
    def find_best_f1_and_threshold(
        scores: ArrayLike, labels: ArrayLike, high_score_more_similar: bool
    ) -> tuple[float, float, float, float]:
        """The highest F1 that a threshold gives, its precision and recall, and that threshold."""
        sign = 1 if high_score_more_similar else -1
        best = m.best_f1(sign * np.asarray(scores), labels)
        return best.f1, best.precision, best.recall, sign * best.threshold
