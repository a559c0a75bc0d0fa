"""How far are a student's vectors of translations from its teacher's of the originals?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from vicinal.errors import InvalidData
from vicinal.evaluation.base import EncodingEvaluator, logger
from vicinal.evaluation.mse import squared_error


class MSEEvaluatorFromDataFrame(EncodingEvaluator):
    """Mean squared error, times 100, of a student's vectors of texts in one language to its teacher's in another.

    Metrics: `negative_mse`, the mean over the combinations; the file has the error of each.

    Args:
        dataframe: rows of parallel texts by language, [{"en": ..., "de": ...}, ...]; or a pandas DataFrame with a
            column a language. A row counts for a combination where both its texts are there and not blank.
        teacher_model: what has `encode`; it encodes each source text once, when the evaluator is made.
        combinations: (source, target) languages.
        batch_size, name, write_csv, truncate_dim: as in `EmbeddingSimilarityEvaluator`.

    Raises:
        InvalidData: a combination has no row; the languages that are there are listed.
    """

    def __init__(
        self,
        dataframe: Any,
        teacher_model: Any,
        combinations: Iterable[tuple[str, str]],
        batch_size: int = 8,
        name: str = "",
        write_csv: bool = True,
        truncate_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.combinations = list(combinations)
        self.batch_size = batch_size
        self.name = name
        self.write_csv = write_csv
        self.truncate_dim = truncate_dim
        self.csv_file = f"mse_evaluation{f'_{name}' if name else ''}_results.csv"
        self.csv_headers = ["epoch", "steps", *(f"{source}-{target}" for source, target in self.combinations)]
        self.primary_metric = "negative_mse"
        rows = dataframe.to_dict("records") if hasattr(dataframe, "to_dict") else list(dataframe)
        self.data = {pair: _parallel(rows, *pair) for pair in self.combinations}
        if not self.data:
            raise InvalidData("there is no combination of languages to evaluate")
        texts = list(dict.fromkeys(text for sources, _ in self.data.values() for text in sources))
        self._teacher = np.asarray(self.embed_inputs(teacher_model, texts))
        self._row = {text: row for row, text in enumerate(texts)}

    def __call__(
        self, model: Any, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, float]:
        """The error."""
        run = self._begin(output_path, epoch, steps)
        errors = []
        for (source, target), (sources, targets) in self.data.items():
            teacher = self._teacher[[self._row[text] for text in sources]]
            errors.append(squared_error(teacher, self.embed_inputs(model, targets)))
            logger.info("%s-%s: mean squared error (* 100) %.4f", source, target, errors[-1])
        return self._finish(run, model, {"negative_mse": -float(np.mean(errors))}, errors)

    @property
    def description(self) -> str:
        """ "Knowledge Distillation"."""
        return "Knowledge Distillation"


def _parallel(rows: Sequence[Mapping[str, Any]], source: str, target: str) -> tuple[list[str], list[str]]:
    """The texts of both languages, of the rows that have both."""
    pairs = [(row.get(source), row.get(target)) for row in rows]
    both = [(a, b) for a, b in pairs if isinstance(a, str) and isinstance(b, str) and a.strip() and b.strip()]
    if not both:
        languages = ", ".join(sorted({str(key) for row in rows for key in row})) or "none"
        raise InvalidData(f"no row has a text both in {source!r} and in {target!r}; languages: {languages}")
    return [a for a, _ in both], [b for _, b in both]
