"""How far are a student's vectors from its teacher's?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vicinal.errors import DimensionMismatch
from vicinal.evaluation.base import EncodingEvaluator, check_lengths

_ROWS = 4096  # at a time, in float64


class MSEEvaluator(EncodingEvaluator):
    """Mean squared error between a student's vectors and its teacher's, times 100.

    Metrics: `negative_mse`, so that more is better; the file has the error itself. The teacher encodes once, when the
    evaluator is made.

    Args:
        source_sentences: what the teacher encodes.
        target_sentences: what the model encodes; row i should have the vector of source row i.
        teacher_model: what has `encode`.
        show_progress_bar, batch_size, name, write_csv, truncate_dim: as in `EmbeddingSimilarityEvaluator`.

    Raises:
        InvalidData: the columns differ in length or are empty.
        DimensionMismatch: (when called) teacher and model have vectors of different lengths.
    """

    def __init__(
        self,
        source_sentences: Sequence[str],
        target_sentences: Sequence[str],
        teacher_model: Any = None,
        show_progress_bar: bool | None = False,
        batch_size: int = 32,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        check_lengths(source_sentences=source_sentences, target_sentences=target_sentences)
        if teacher_model is None:
            raise TypeError("MSEEvaluator needs teacher_model: the model whose vectors are the target")
        self.target_sentences = target_sentences
        self.show_progress_bar = show_progress_bar
        self.batch_size = batch_size
        self.name = name
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        self.csv_file = f"mse_evaluation_{name}_results.csv"
        self.csv_headers = ["epoch", "steps", "MSE"]
        self.primary_metric = "negative_mse"
        self.source_embeddings = np.asarray(self.embed_inputs(teacher_model, source_sentences))

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The error."""
        run = self._begin(output_path, epoch, steps)
        error = squared_error(self.source_embeddings, self.embed_inputs(model, self.target_sentences))
        return self._finish(run, model, {"negative_mse": -error}, [error])

    @property
    def description(self) -> str:
        """ "Knowledge Distillation"."""
        return "Knowledge Distillation"


def squared_error(teacher: Any, student: Any) -> float:
    """The mean of the squared differences of (n, d) vectors, times 100.

    Raises:
        DimensionMismatch: the shapes differ.
    """
    a, b = np.asarray(teacher), np.asarray(student)
    if a.shape != b.shape:
        raise DimensionMismatch(f"the teacher's vectors have shape {a.shape}, the model's {b.shape}: set truncate_dim")
    pieces = (slice(start, start + _ROWS) for start in range(0, len(a), _ROWS))
    return sum(float(np.square(np.subtract(a[p], b[p], dtype=np.float64)).sum()) for p in pieces) / a.size * 100
