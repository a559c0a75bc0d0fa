"""Does a pair scorer say the right class?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vicinal.cross_encoder.evaluation.base import PredictingEvaluator
from vicinal.errors import InvalidData
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import check_lengths

_BINARY = ("accuracy", "accuracy_threshold", "f1", "f1_threshold", "precision", "recall", "average_precision")
_CLASSES = ("f1_macro", "f1_micro", "f1_weighted")
_SHOWN = {"f1": "F1", "f1_threshold": "F1_Threshold", "f1_macro": "Macro_F1", "f1_micro": "Micro_F1",
          "f1_weighted": "Weighted_F1"}  # fmt: skip


class CrossEncoderClassificationEvaluator(PredictingEvaluator):
    """Accuracy and F1 of pairs with a class.

    Metrics of a model with one output: `accuracy`, `accuracy_threshold`, `f1`, `f1_threshold`, `precision`, `recall`,
    `average_precision` (primary), as in `BinaryClassificationEvaluator`. Of a model with several, whose highest is the
    class: `f1_macro` (primary), `f1_micro`, `f1_weighted`.

    Args:
        sentence_pairs: pairs of texts.
        labels: the class of each, from 0.
        name, write_csv: see `BaseEvaluator`.
        prompt_name, batch_size, show_progress_bar: given to the model's `predict`.

    Raises:
        InvalidData: pairs and labels differ in number, there are none, or (when called) a label is none of the model's.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        labels: Sequence[int],
        *,
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
    ) -> None:
        super().__init__()
        check_lengths(sentence_pairs=sentence_pairs, labels=labels)
        self.sentence_pairs, self.labels = sentence_pairs, np.asarray(labels)
        self.name = name
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.csv_file = f"CrossEncoderClassificationEvaluator{f'_{name}' if name else ''}_results.csv"

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> CrossEncoderClassificationEvaluator:
        """From `InputExample`s of two texts."""
        rows = list(examples)
        return cls([row.texts for row in rows], [row.label for row in rows], **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The metrics."""
        outputs = int(model.num_labels)
        columns = _BINARY if outputs == 1 else _CLASSES
        self.csv_headers = ["epoch", "steps", *(_SHOWN.get(column, column.title()) for column in columns)]
        classes = max(2, outputs)
        if odd := sorted(set(self.labels.tolist()) - set(range(classes))):
            raise InvalidData(f"labels must be 0 to {classes - 1} for this model, but there is {odd[0]!r}")
        run = self._begin(output_path, epoch, steps)
        scores = self.predictions(model, self.sentence_pairs, outputs)
        found = self._binary(scores) if outputs == 1 else self._classes(scores)
        self.primary_metric = "average_precision" if outputs == 1 else "f1_macro"
        return self._finish(run, model, found, [found[column] for column in columns])

    def _binary(self, scores: Any) -> dict[str, float]:
        accuracy, accuracy_threshold = m.best_accuracy(scores, self.labels)
        best = m.best_f1(scores, self.labels)
        return {
            "accuracy": accuracy,
            "accuracy_threshold": accuracy_threshold,
            "f1": best.f1,
            "f1_threshold": best.threshold,
            "precision": best.precision,
            "recall": best.recall,
            "average_precision": m.average_precision(scores, self.labels),
        }

    def _classes(self, scores: Any) -> dict[str, float]:
        return {f"f1_{kind}": value for kind, value in m.class_f1(self.labels, scores.argmax(axis=1)).items()}
