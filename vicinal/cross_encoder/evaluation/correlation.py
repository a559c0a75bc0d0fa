"""Does a pair scorer rank pairs as people do?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from vicinal import report
from vicinal.cross_encoder.evaluation.base import PredictingEvaluator
from vicinal.errors import EvaluationWarning
from vicinal.evaluation import metrics as m
from vicinal.evaluation.base import check_lengths


class CrossEncoderCorrelationEvaluator(PredictingEvaluator):
    """Correlation of the scores of pairs with those that people gave them.

    Metrics: `pearson`, `spearman` (primary).

    Args:
        sentence_pairs: pairs of texts.
        scores: of each, on any scale that rises with likeness.
        name, write_csv: see `BaseEvaluator`.
        prompt_name, batch_size, show_progress_bar: given to the model's `predict`.

    Raises:
        InvalidData: pairs and scores differ in number, or there are none.
    """

    def __init__(
        self,
        sentence_pairs: Sequence[Sequence[str]],
        scores: Sequence[float],
        name: str = "",
        prompt_name: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        write_csv: bool = True,
    ) -> None:
        super().__init__()
        check_lengths(sentence_pairs=sentence_pairs, scores=scores)
        self.sentence_pairs, self.scores = sentence_pairs, scores
        self.name = name
        self.prompt_name = prompt_name
        self.batch_size = batch_size
        self.show_progress_bar = show_progress_bar
        self.write_csv = write_csv
        self.csv_file = f"CrossEncoderCorrelationEvaluator{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = ["epoch", "steps", "Pearson_Correlation", "Spearman_Correlation"]
        self.primary_metric = "spearman"

    @classmethod
    def from_input_examples(cls, examples: Iterable[Any], **options: Any) -> CrossEncoderCorrelationEvaluator:
        """From `InputExample`s of two texts, their label the score."""
        rows = list(examples)
        return cls([row.texts for row in rows], [row.label for row in rows], **options)

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The correlations."""
        run = self._begin(output_path, epoch, steps)
        scores = self.predictions(model, self.sentence_pairs)
        found = {"pearson": m.pearson(self.scores, scores), "spearman": m.spearman(self.scores, scores)}
        if any(map(math.isnan, found.values())):
            report.warn(
                "the correlation is not defined (nan), because one side's scores are all equal", EvaluationWarning
            )
        return self._finish(run, model, found, found.values())
